//! A DC/OS cluster: an Admin Router with a certificate of the cluster's own CA, a login that believes only what is
//! signed by the right key and has not expired, and Marathon behind it.

use crate::canned::{Asked, Canned, Reply, answer, json as reply};
use crate::tls::Authority;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use teal_core::name::RevisionId;
use teal_drivers::auth::{Account, Credentials, ServiceAccount};
use teal_drivers::dcos::Cluster;
use teal_drivers::http::{Access, Client, Method, Trust};
use teal_drivers::orchestrators::Marathon;
use teal_drivers::{DriverError, Orchestrator, Secret};

const LOGIN: &str = "POST /acs/api/v1/auth/login";
const KEY: &str = include_str!("../data/keys/service-account.pkcs8.pem");
const OLDER_KEY: &str = include_str!("../data/keys/service-account.pkcs1.pem");
const ANOTHER_KEY: &str = include_str!("../data/keys/another.pem");
const CURVE_KEY: &str = include_str!("../data/keys/elliptic-curve.pem");
const PASSWORD: &str = "open sesame";

#[tokio::test]
async fn a_service_account_logs_in_with_what_it_signs_and_drives_marathon() {
    let cluster = DcOs::start().await;

    let seen = cluster
        .marathon(service(KEY))
        .observe(&[RevisionId::from("/oinker")])
        .await
        .expect("is let in");

    assert_eq!(seen[0].wanted, 3);
    let lines = cluster.router.lines();
    assert_eq!(lines, [LOGIN, "GET /service/marathon/v2/apps/oinker"]);
    let asked = &cluster.router.asked()[1];
    assert_eq!(asked.header("authorization"), Some("token=issued-1"));
}

#[tokio::test]
async fn a_key_of_older_tools_signs_as_well() {
    let cluster = DcOs::start().await;

    let answer = cluster
        .client(service(OLDER_KEY))
        .get("/v2/apps/oinker")
        .await;

    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn a_user_logs_in_with_a_password() {
    let cluster = DcOs::start().await;

    let answer = cluster.client(user(PASSWORD)).get("/v2/apps/oinker").await;

    assert!(answer.is_ok(), "{answer:?}");
    let body: Value = serde_json::from_str(&cluster.router.asked()[0].body).expect("JSON");
    assert_eq!(body, json!({ "uid": "bob", "password": PASSWORD }));
}

#[tokio::test]
async fn a_token_that_expires_in_mid_run_is_renewed_once_and_the_refused_change_is_sent_again() {
    let cluster = DcOs::start().await;
    let client = cluster.client(service(KEY));
    assert!(client.get("/v2/apps/oinker").await.is_ok());
    cluster.expire_tokens();

    let changed = client
        .send(Method::PUT, "/v2/apps/oinker", Some(&json!({})))
        .await;

    assert_eq!(changed, Ok((200, json!({}))));
    let put = "PUT /service/marathon/v2/apps/oinker";
    assert_eq!(cluster.router.lines()[2..], [put, LOGIN, put]);
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_is_not_renewed_for_ever() {
    let cluster = DcOs::start().await;
    cluster.believe_no_token();

    let error = cluster
        .client(service(KEY))
        .get("/v2/apps/oinker")
        .await
        .expect_err("is not let in");

    let DriverError::Unauthorized { message, .. } = &error else {
        panic!("{error}")
    };
    assert!(message.contains("asks for oauthjwt"), "{message}");
    assert!(
        message.contains("the service account deployer"),
        "{message}"
    );
    let get = "GET /service/marathon/v2/apps/oinker";
    assert_eq!(cluster.router.lines(), [LOGIN, get, LOGIN, get]);
}

#[tokio::test]
async fn many_calls_at_once_log_in_once() {
    let cluster = DcOs::start().await;
    let client = cluster.client(service(KEY));

    let calls = (0..8).map(|_| client.get("/v2/apps/oinker"));
    let answers = futures_util::future::join_all(calls).await;
    cluster.expire_tokens();
    let calls = (0..8).map(|_| client.get("/v2/apps/oinker"));
    let later = futures_util::future::join_all(calls).await;

    assert!(answers.iter().chain(&later).all(Result::is_ok));
    assert_eq!(cluster.logins(), 2);
}

#[tokio::test]
async fn a_refused_login_is_told_and_not_tried_again_at_once() {
    for (credentials, who) in [
        (user("wrong"), "uid and password do not match"),
        (service(ANOTHER_KEY), "the signature does not match"),
    ] {
        let cluster = DcOs::start().await;
        let client = cluster.client(credentials);

        let first = client.get("/v2/apps/oinker").await;
        let second = client
            .send(Method::POST, "/v2/apps", Some(&json!({})))
            .await;

        let Err(DriverError::Unauthorized { url, message }) = &first else {
            panic!("{first:?}")
        };
        assert!(url.ends_with("/acs/api/v1/auth/login"), "{url}");
        assert!(message.contains(who), "{message}");
        assert_eq!(second.err(), first.err());
        // An account may be locked after too many of these.
        assert_eq!(cluster.router.lines(), [LOGIN]);
    }
}

#[tokio::test]
async fn a_server_without_a_login_is_told_to_be_no_dcos() {
    let server = Canned::start(|_| answer(404, "", "<html>nginx</html>")).await;
    let access = Access {
        credentials: user(PASSWORD),
        ..Access::at(&server.url)
    };

    let error = Client::open(access).expect("an address").get("/ping").await;

    let told = error.expect_err("no login").to_string();
    assert!(told.contains("is this a DC/OS cluster?"), "{told}");
}

#[tokio::test]
async fn an_account_logs_in_where_its_file_says() {
    let cluster = DcOs::start().await;
    let file = json!({
        "uid": "deployer", "private_key": KEY, "scheme": "RS256",
        "login_endpoint": format!("{}/acs/api/v1/auth/login", cluster.router.url),
    });
    let account =
        ServiceAccount::read(&Secret::new(&file.to_string()), None, "a file").expect("an account");
    let marathon = Canned::start(|_| reply(200, "1")).await;
    let access = Access {
        credentials: Credentials::Login(Account::Service(account)),
        trust: cluster.trust(),
        ..Access::at(&marathon.url)
    };

    let answer = Client::open(access).expect("an address").get("/ping").await;

    assert_eq!(answer, Ok(json!(1)));
    assert_eq!(cluster.router.lines(), [LOGIN]);
    let header = marathon.asked()[0]
        .header("authorization")
        .map(str::to_owned);
    assert_eq!(header.as_deref(), Some("token=issued-1"));
}

#[tokio::test]
async fn no_token_is_sent_to_another_host_that_the_cluster_sends_us_on_to() {
    let stranger = Canned::start(|_| {
        Reply::Bytes("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned())
    })
    .await;
    let cluster = DcOs::start().await;
    cluster.send_on_to(&stranger.url);
    let marathon = cluster.marathon(service(KEY));

    let error = marathon.observe(&[RevisionId::from("/oinker")]).await;
    assert!(
        matches!(error, Err(DriverError::Refused { .. })),
        "{error:?}"
    );
    assert_eq!(stranger.lines(), [""; 0]);
    marathon.changed().await;

    assert_eq!(stranger.lines()[0], "GET /service/marathon/v2/events");
    assert!(!stranger.asked()[0].sent.contains("issued-1"));
}

#[tokio::test]
async fn a_marathon_beside_the_cluster_gets_no_token() {
    let cluster = DcOs::start().await;
    let beside = Canned::start(|_| reply(200, "1")).await;
    let access = Access {
        urls: vec![beside.url.clone()],
        trust: cluster.trust(),
        credentials: token("secret-token"),
        credentials_for: Some(vec![cluster.router.url.clone()]),
    };

    let answer = Client::open(access).expect("an address").get("/ping").await;

    assert_eq!(answer, Ok(json!(1)));
    assert_eq!(beside.asked()[0].header("authorization"), None);
}

#[tokio::test]
async fn what_an_account_may_not_do_is_told_plainly_and_nobody_logs_in_again() {
    let cluster = DcOs::start().await;
    let client = cluster.client(service(KEY));

    let error = client
        .send(Method::DELETE, "/v2/apps/forbidden", None)
        .await;

    let Err(error @ DriverError::Forbidden { .. }) = error else {
        panic!("{error:?}")
    };
    assert!(error.to_string().contains("Access forbidden"), "{error}");
    assert_eq!(cluster.logins(), 1);
}

/// `dcos auth login` in another terminal is enough to let a long deployment go on.
#[tokio::test]
async fn the_token_of_the_dcos_command_line_is_read_again_when_it_has_expired() {
    let cluster = DcOs::start().await;
    cluster.issue();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dcos.toml");
    let ca = cluster.authority.file();
    let write = |token: &str| {
        let text = format!(
            "[core]\ndcos_url = \"{}\"\ndcos_acs_token = \"{token}\"\nssl_verify = \"{}\"\n",
            cluster.router.url,
            ca.display()
        );
        std::fs::write(&file, text).expect("is written");
        let ours = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, ours).expect("ours");
    };
    write("issued-1");
    let variable = |name: &str| match name {
        "DCOS_DIR" => Some(folder.path().display().to_string()),
        _ => None,
    };
    let attached = Cluster::attached(&variable).expect("is set up");
    let client = Client::open(attached.access(Credentials::None)).expect("an address");
    assert!(client.get("/v2/apps/oinker").await.is_ok());

    cluster.expire_tokens();
    let refused = client.get("/v2/apps/oinker").await;
    cluster.issue();
    write("issued-2");
    let renewed = client.get("/v2/apps/oinker").await;

    assert!(
        matches!(refused, Err(DriverError::Unauthorized { .. })),
        "{refused:?}"
    );
    assert!(renewed.is_ok(), "{renewed:?}");
}

#[tokio::test]
async fn no_error_and_no_picture_of_a_client_holds_a_secret() {
    let mut shown = String::new();
    for credentials in [
        user(PASSWORD),
        user("wrong horse"),
        service(KEY),
        service(ANOTHER_KEY),
        token("secret-token"),
        Credentials::Basic {
            user: "bob".to_owned(),
            password: Secret::new(PASSWORD),
        },
    ] {
        let cluster = DcOs::start().await;
        let client = cluster.client(credentials);
        for path in [
            "/v2/apps/oinker",
            "/v2/apps/forbidden",
            "/redirect",
            "/v2/x",
        ] {
            let answer = client.call(Method::GET, path, None).await;
            shown += &format!("{answer:?} {client:?} {}", client.credentials());
            if let Ok(answer) = &answer {
                shown += &format!("{:?} {}", answer.error(), answer.error());
            }
            cluster.expire_tokens();
        }
    }

    let key_line = KEY.lines().nth(3).expect("a line of the key");
    for secret in [PASSWORD, "wrong horse", "secret-token", "issued-", key_line] {
        assert!(!shown.contains(secret), "{secret}");
    }
    assert!(shown.contains("deployer"), "names are no secrets");
}

#[test]
fn a_service_accounts_file_that_cannot_be_used_is_refused_without_a_word_of_it() {
    let file = |more: Value| {
        let mut file = json!({ "uid": "deployer", "private_key": KEY });
        for (key, value) in more.as_object().expect("an object") {
            file[key] = value.clone();
        }
        file.to_string()
    };
    let broken = KEY.replace('M', "N");
    for (text, uid, reason) in [
        (KEY.to_owned(), None, "does not name the account"),
        ("{".to_owned(), None, "it is not JSON"),
        (file(json!({ "uid": null })), None, "no `uid`"),
        (
            file(json!({ "private_key": null })),
            None,
            "no `private_key`",
        ),
        (
            file(json!({ "scheme": "ES256" })),
            None,
            "it signs by ES256",
        ),
        (file(json!({})), Some("other"), "it is the account deployer"),
        (
            file(json!({ "private_key": CURVE_KEY })),
            None,
            "not an RSA key",
        ),
        (
            file(json!({ "private_key": broken })),
            None,
            "cannot be used",
        ),
        (
            file(json!({ "private_key": "s3cr3t" })),
            None,
            "no PEM block",
        ),
    ] {
        let error = ServiceAccount::read(&Secret::new(&text), uid, "the file /f")
            .expect_err(reason)
            .to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(error.starts_with("the file /f"), "{error}");
        assert!(!error.contains("s3cr3t"), "{error}");
    }
}

/// The cluster.
struct DcOs {
    router: Canned,
    authority: Authority,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    issued: u32,
    good: Option<String>,
    deaf: bool,
    send_on_to: Option<String>,
}

impl State {
    fn issue(&mut self) -> String {
        self.issued += 1;
        let token = format!("issued-{}", self.issued);
        self.good = Some(token.clone()).filter(|_| !self.deaf);
        token
    }
}

impl DcOs {
    async fn start() -> Self {
        let authority = Authority::new();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let router = Canned::start_tls(authority.server("localhost"), move |asked| {
            admin_router(&mut shared.lock().expect("not poisoned"), asked)
        })
        .await;
        Self {
            router,
            authority,
            state,
        }
    }

    fn trust(&self) -> Trust {
        Trust::Also(self.authority.file())
    }

    fn access(&self, credentials: Credentials) -> Access {
        let cluster = Cluster::at(&self.router.url).expect("an address");
        Access {
            trust: self.trust(),
            ..cluster.access(credentials)
        }
    }

    fn client(&self, credentials: Credentials) -> Client {
        Client::open(self.access(credentials)).expect("can be used")
    }

    fn marathon(&self, credentials: Credentials) -> Marathon {
        Marathon::open(self.access(credentials)).expect("can be used")
    }

    fn expire_tokens(&self) {
        self.state.lock().expect("not poisoned").good = None;
    }

    fn issue(&self) {
        self.state.lock().expect("not poisoned").issue();
    }

    fn believe_no_token(&self) {
        self.state.lock().expect("not poisoned").deaf = true;
    }

    fn send_on_to(&self, url: &str) {
        self.state.lock().expect("not poisoned").send_on_to = Some(url.to_owned());
    }

    fn logins(&self) -> usize {
        let lines = self.router.lines();
        lines.iter().filter(|line| *line == LOGIN).count()
    }
}

fn admin_router(state: &mut State, asked: &Asked) -> Reply {
    if asked.line == LOGIN {
        return log_in(state, &asked.body);
    }
    let shown = asked.header("authorization");
    let good = state.good.as_ref().map(|token| format!("token={token}"));
    if good.is_none() || shown != good.as_deref() {
        // dcos/dcos, packages/adminrouter: auth/common.lua.
        let challenge = "WWW-Authenticate: oauthjwt realm=\"DC/OS\"\r\n";
        return answer(401, challenge, "<html>401 Authorization Required</html>");
    }
    let (_, path) = asked.line.split_once(' ').expect("a path");
    if let Some(elsewhere) = &state.send_on_to {
        return answer(302, &format!("Location: {elsewhere}{path}\r\n"), "");
    }
    match path {
        "/service/marathon/v2/apps/oinker" if asked.line.starts_with("GET") => reply(
            200,
            r#"{"app":{"id":"/oinker","instances":3,"tasks":[],"deployments":[]}}"#,
        ),
        "/service/marathon/v2/apps/forbidden" => reply(
            403,
            r#"{"title":"Forbidden","description":"Access forbidden","code":"ERR_FORBIDDEN"}"#,
        ),
        "/service/marathon/redirect" => answer(302, "Location: http://127.0.0.1:1/x\r\n", ""),
        _ => reply(200, "{}"),
    }
}

fn log_in(state: &mut State, body: &str) -> Reply {
    let Ok(body) = serde_json::from_str::<Value>(body) else {
        return refuse(400, "the body is not JSON");
    };
    let by_password = body["uid"] == "bob" && body["password"] == PASSWORD;
    if by_password {
        return reply(200, &json!({ "token": state.issue() }).to_string());
    }
    let Some(signed) = body["token"].as_str() else {
        return refuse(401, "uid and password do not match");
    };
    match verify(signed) {
        Err(why) => refuse(401, why),
        Ok(claims) if claims["uid"] == body["uid"] && claims["uid"] == "deployer" => {
            reply(200, &json!({ "token": state.issue() }).to_string())
        }
        Ok(_) => refuse(401, "there is no such account"),
    }
}

fn refuse(status: u16, why: &str) -> Reply {
    let body =
        json!({ "title": "Unauthorized", "description": why, "code": "ERR_INVALID_CREDENTIALS" });
    reply(status, &body.to_string())
}

/// Returns the claims of a token that the account's key signed and that holds for at most five minutes more.
fn verify(token: &str) -> Result<Value, &'static str> {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts[..] else {
        return Err("no token has so many parts");
    };
    let read = |part| serde_json::from_slice::<Value>(&unbase64(part)).map_err(|_| "no JSON");
    if read(head)? != json!({ "alg": "RS256", "typ": "JWT" }) {
        return Err("not RS256");
    }
    let key = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let pair = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).expect("an RSA key");
    let public: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
    let signed = format!("{head}.{claims}");
    public
        .verify(
            &RSA_PKCS1_2048_8192_SHA256,
            signed.as_bytes(),
            &unbase64(signature),
        )
        .map_err(|_| "the signature does not match")?;
    let claims = read(claims)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    match claims["exp"].as_u64() {
        Some(expires) if expires > now && expires <= now + 300 => Ok(claims),
        Some(_) | None => Err("expired, or good for too long"),
    }
}

/// RFC 4648, section 5.
fn unbase64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes() {
        let digit = digits.iter().position(|&digit| digit == letter);
        bits = bits << 6 | u32::try_from(digit.expect("base64url")).expect("below 64");
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}

fn service(key: &str) -> Credentials {
    let account = ServiceAccount::read(&Secret::new(key), Some("deployer"), "a file");
    Credentials::Login(Account::Service(account.expect("an account")))
}

fn user(password: &str) -> Credentials {
    Credentials::Login(Account::User {
        uid: "bob".to_owned(),
        password: Secret::new(password),
    })
}

fn token(token: &str) -> Credentials {
    Credentials::Token {
        token: Secret::new(token),
        from: "a variable".to_owned(),
        file: None,
    }
}
