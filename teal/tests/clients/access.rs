//! A Marathon that asks for a token, and one that is encrypted.

use std::path::Path;
use std::process::Command;

use crate::machine::{Machine, programs};

const TOKEN: &str = "open-sesame";

/// Lists the apps of a Marathon that asks for a token, in the two ways that the library has.
const WITH_TOKEN: &str = r#"
import sys
from marathon import MarathonClient
from marathon.exceptions import MarathonHttpError

url, token = sys.argv[1:3]
assert MarathonClient(url, auth_token=token).list_apps() == []
assert MarathonClient(url, username="anybody", password=token).list_apps() == []
for wrong in (MarathonClient(url), MarathonClient(url, auth_token=token + "2")):
    try:
        wrong.list_apps()
    except MarathonHttpError as error:
        assert error.status_code == 401, error
    else:
        raise AssertionError("it was let in")
print("all is as it should be")
"#;

/// Lists the apps of a Marathon with a certificate, and of nobody without one.
const ENCRYPTED: &str = r#"
import sys
from marathon import MarathonClient
from marathon.exceptions import MarathonError

url = sys.argv[1].replace("http://127.0.0.1", "https://localhost")
assert MarathonClient(url, auth_token=sys.argv[2], verify=sys.argv[3]).list_apps() == []
for other in (MarathonClient(url, auth_token=sys.argv[2]), MarathonClient(sys.argv[1], auth_token=sys.argv[2])):
    try:
        other.list_apps()
    except MarathonError:
        pass
    else:
        raise AssertionError("it believed what nobody vouches for")
print("all is as it should be")
"#;

/// Issues a certificate for localhost that vouches for itself.
const ISSUE: &str = r#"
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
now = datetime.datetime.now(datetime.timezone.utc)
paper = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
         .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
         .not_valid_after(now + datetime.timedelta(days=1))
         .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
         .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
         .sign(key, hashes.SHA256()))
open("certificate.pem", "wb").write(paper.public_bytes(serialization.Encoding.PEM))
open("key.pem", "wb").write(key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
"#;

#[test]
fn the_cli_is_let_in_once_it_has_the_token() {
    let machine = Machine::up_with(token_file);

    machine.dcos(&["app", "list"]).fails(
        "Error: The token is missing or wrong. Send it as 'Authorization: token=<token>', as \
             'Authorization: Bearer <token>', or as the password of basic authentication.",
    );
    machine.log_in(TOKEN);

    machine.dcos(&["app", "list"]).prints("");
    machine.dcos(&["ping", "--once"]).went_well();
}

#[test]
fn the_library_is_let_in_with_a_token_or_a_password() {
    let machine = Machine::up_with(token_file);

    machine
        .python_with(WITH_TOKEN, &[TOKEN])
        .says_only("all is as it should be");
}

#[test]
fn the_library_believes_the_certificate_that_it_is_told_to() {
    let machine = Machine::up_with(|folder| {
        let mut issue = Command::new(programs().join("python"));
        let issued = issue.args(["-c", ISSUE]).current_dir(folder).status();
        assert!(issued.expect("python runs").success());
        let file = |name: &str| folder.join(name).display().to_string();
        let tls = [
            "--tls-cert".to_owned(),
            file("certificate.pem"),
            "--tls-key".to_owned(),
            file("key.pem"),
        ];
        [token_file(folder), tls.to_vec()].concat()
    });

    let certificate = machine.folder().join("certificate.pem");
    machine
        .python_with(ENCRYPTED, &[TOKEN, &certificate.display().to_string()])
        .says_only("all is as it should be");
}

fn token_file(folder: &Path) -> Vec<String> {
    let file = folder.join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("the folder can be written to");
    vec!["--token-file".to_owned(), file.display().to_string()]
}
