//! Which of several places is heard, and what goes with what.

use super::*;
use std::io::Write;
use tempfile::NamedTempFile;

#[test]
fn credentials_of_the_projects_file_are_for_its_own_marathon_alone() {
    let token = file("project-token");
    let project = keys(&format!(
        "marathon = \"https://prod\"\nmarathon_token_file = \"{}\"\nmarathon_ca = \"/ca\"\n",
        token.path().display()
    ));

    let own = resolve(&[], &project, &[]).access().unwrap();
    assert_eq!(own.urls, ["https://prod"]);
    assert_eq!(own.trust, Trust::Also(PathBuf::from("/ca")));
    assert_eq!(shown_secret(&own.credentials), Some("project-token"));

    let other = resolve(&["--marathon", "http://test"], &project, &[]);
    let other = other.access().unwrap();
    assert_eq!(other.urls, ["http://test"]);
    assert_eq!(other.trust, Trust::System);
    assert!(matches!(other.credentials, Credentials::None));
}

#[test]
fn credentials_of_this_run_stand_in_for_all_of_the_projects() {
    let (token, password) = (file("project-token"), file("p4ss"));
    let project = keys(&format!(
        "marathon = \"https://prod\"\nmarathon_token_file = \"{}\"\n",
        token.path().display()
    ));
    let path = password.path().display().to_string();
    let flags = ["--marathon-user", "bob", "--marathon-password-file", &path];

    let by_flag = resolve(&flags, &project, &[]).access().unwrap();
    let by_variable = resolve(&[], &project, &[("TEAL_MARATHON_TOKEN", "t2")]);
    let by_variable = by_variable.access().unwrap();

    assert_eq!(by_flag.urls, ["https://prod"]);
    assert!(matches!(&by_flag.credentials, Credentials::Basic { user, .. } if user == "bob"));
    assert_eq!(shown_secret(&by_flag.credentials), Some("p4ss"));
    assert_eq!(shown_secret(&by_variable.credentials), Some("t2"));
}

#[test]
fn several_masters_are_said_with_commas_or_as_a_list() {
    let project = keys("marathon = [\"http://a\", \"http://b\"]\n");
    let flags = ["--marathon", "http://a, http://b,"];

    for place in [resolve(&[], &project, &[]), resolve(&flags, &keys(""), &[])] {
        assert_eq!(place.access().unwrap().urls, ["http://a", "http://b"]);
    }
    let none = resolve(&[], &keys(""), &[]).access().unwrap();
    assert_eq!(none.urls, [DEFAULT]);
}

#[test]
fn a_name_and_a_password_log_in_at_dcos_and_are_sent_along_elsewhere() {
    let password = [("TEAL_MARATHON_PASSWORD", "p4ss")];
    let at = |url| {
        let flags = ["--marathon", url, "--marathon-user", "bob"];
        resolve(&flags, &keys(""), &password).access().unwrap()
    };

    let dcos = at("dcos+https://master.example.com");
    let plain = at("https://master.example.com");

    assert_eq!(dcos.urls, ["https://master.example.com/service/marathon"]);
    assert_eq!(
        dcos.credentials_for,
        Some(vec!["https://master.example.com".to_owned()])
    );
    assert!(matches!(
        dcos.credentials,
        Credentials::Login(Account::User { .. })
    ));
    assert!(matches!(plain.credentials, Credentials::Basic { .. }));
}

const PASSWORD: (&str, &str) = ("TEAL_MARATHON_PASSWORD", "s3cr3t");
const TOKEN: (&str, &str) = ("TEAL_MARATHON_TOKEN", "s3cr3t");

/// Flags, variables, and what is wrong with them.
type Case = (
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
    &'static str,
);

#[test]
fn what_does_not_go_together_is_refused_with_a_hint_and_no_secret() {
    let cases: [Case; 9] = [
        (&["--marathon-user", "bob"], &[], "comes without a password"),
        (&[], &[PASSWORD], "no name to it"),
        (&["--marathon-user", "bob"], &[PASSWORD, TOKEN], "two kinds"),
        (&["--marathon-user", "bob"], &[TOKEN], "two kinds"),
        (&["--marathon", "dcos,http://a"], &[], "beside it"),
        (&["--marathon-token-file", "/nowhere/t"], &[], "/nowhere/t"),
        (
            &["--marathon-token-file", "/dev/null"],
            &[],
            "nothing in it",
        ),
        (
            &["--marathon-service-account", "/dev/null"],
            &[],
            "nothing in it",
        ),
        (
            &[
                "--marathon-ca",
                "/ca",
                "--marathon-tls-without-verification",
            ],
            &[],
            "not to be verified",
        ),
    ];
    for (flags, variables, reason) in cases {
        let failure = resolve(flags, &keys(""), variables).access().unwrap_err();

        assert_eq!(failure.exit, Exit::Invalid);
        assert!(failure.what.contains(reason), "{reason}: {failure}");
        assert!(failure.hint.is_some(), "{failure}");
        assert!(!failure.to_string().contains("s3cr3t"), "{failure}");
    }
}

#[test]
fn a_place_shows_none_of_its_secrets() {
    let place = resolve(&["--marathon-user", "bob"], &keys(""), &[PASSWORD, TOKEN]);

    let shown = format!("{place:?}");
    assert!(
        shown.contains("bob") && !shown.contains("s3cr3t"),
        "{shown}"
    );
}

#[test]
fn a_file_is_read_once_because_a_pipe_can_be_read_once() {
    let token = file("first");
    let path = token.path().display().to_string();
    let place = resolve(&["--marathon-token-file", &path], &keys(""), &[]);
    assert_eq!(
        shown_secret(&place.access().unwrap().credentials),
        Some("first")
    );

    std::fs::write(token.path(), "second").unwrap();

    let again = place.clone().access().unwrap();
    assert_eq!(shown_secret(&again.credentials), Some("first"));
}

#[test]
fn a_key_of_the_wrong_kind_is_told() {
    for text in [
        "marathon = 8080",
        "marathon = [1]",
        "marathon_user = true",
        "marathon_tls_without_verification = \"yes\"",
    ] {
        let table: toml::Table = text.parse().unwrap();
        let (name, value) = table.iter().next().unwrap();
        assert!(MarathonKeys::default().set(name, value).is_err(), "{text}");
    }
}

fn keys(text: &str) -> MarathonKeys {
    let mut keys = MarathonKeys::default();
    for (name, value) in &text.parse::<toml::Table>().unwrap() {
        assert!(MarathonKeys::NAMES.contains(&name.as_str()), "{name}");
        keys.set(name, value).unwrap();
    }
    keys
}

fn resolve(flags: &[&str], keys: &MarathonKeys, variables: &[(&str, &str)]) -> MarathonPlace {
    let mut words = flags.iter().copied();
    let mut args = MarathonArgs::default();
    while let Some(flag) = words.next() {
        let mut value = || words.next().unwrap().to_owned();
        match flag {
            "--marathon" => args.marathon = Some(value()),
            "--marathon-user" => args.marathon_user = Some(value()),
            "--marathon-password-file" => args.marathon_password_file = Some(value().into()),
            "--marathon-token-file" => args.marathon_token_file = Some(value().into()),
            "--marathon-service-account" => args.marathon_service_account = Some(value().into()),
            "--marathon-ca" => args.marathon_ca = Some(value().into()),
            "--marathon-tls-without-verification" => {
                args.marathon_tls_without_verification = Some(true);
            }
            other => panic!("{other}"),
        }
    }
    let variable = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    MarathonPlace::resolve(&args, keys, &variable)
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn shown_secret(credentials: &Credentials) -> Option<&str> {
    match credentials {
        Credentials::Basic {
            password: secret, ..
        }
        | Credentials::Token { token: secret, .. } => Some(secret.expose()),
        Credentials::None | Credentials::Login(_) => None,
    }
}
