//! A system at several addresses: who is asked when one of them is gone, slow or without a leader, and who must not be.

use crate::canned::{Canned, Reply, answer, json};
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use teal_core::journal::Effect;
use teal_core::name::RevisionId;
use teal_drivers::auth::{Credentials, TokenFile};
use teal_drivers::http::{Access, Client, Method};
use teal_drivers::orchestrators::Marathon;
use teal_drivers::{DriverError, Orchestrator, Secret};

/// What a standby says that knows no leader (Marathon: LeaderProxyFilter.scala).
const LEADERLESS: &str = "Could not determine the current leader";

#[tokio::test]
async fn a_question_goes_to_the_next_master_and_the_one_that_answers_is_remembered() {
    let good = Canned::start(|_| json(200, "1")).await;
    let gone = gone().await;
    let client = client(&[&gone, &good.url]);

    assert_eq!(client.get("/v2/info").await, Ok(json!(1)));
    assert_eq!(client.current_url(), good.url);
    assert_eq!(client.get("/v2/info").await, Ok(json!(1)));

    assert_eq!(good.lines().len(), 2);
}

#[tokio::test]
async fn a_question_goes_on_when_a_standby_has_no_leader() {
    for status in [502, 503, 504] {
        let standby = Canned::start(move |_| answer(status, "", LEADERLESS)).await;
        let leader = Canned::start(|_| json(200, "1")).await;

        let answer = client(&[&standby.url, &leader.url]).get("/v2/info").await;

        assert_eq!(answer, Ok(json!(1)), "{status}");
        assert_eq!(standby.lines().len(), 1);
    }
}

#[tokio::test]
async fn a_cluster_without_a_leader_is_busy_and_says_so() {
    let standby = Canned::start(|_| answer(502, "", LEADERLESS)).await;
    let gone = gone().await;

    let error = client(&[&standby.url, &gone])
        .get("/v2/info")
        .await
        .expect_err("no leader");

    assert!(matches!(error, DriverError::Busy { .. }), "{error}");
    assert!(error.to_string().contains(LEADERLESS), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_question_waits_for_a_master_that_hangs_no_longer_than_its_share() {
    let hangs = Canned::start(|_| Reply::Silence).await;
    let good = Canned::start(|_| json(200, "1")).await;
    let client = client(&[&hangs.url, &good.url]).with_timeout(Duration::from_millis(400));

    assert_eq!(client.get("/v2/info").await, Ok(json!(1)));
}

#[tokio::test]
async fn a_change_goes_to_the_next_master_when_it_was_surely_not_sent() {
    let good = Canned::start(|_| json(201, "{}")).await;
    let gone = gone().await;

    let answer = client(&[&gone, &good.url])
        .send(Method::POST, "/v2/apps", Some(&json!({})))
        .await;

    assert_eq!(answer, Ok((201, json!({}))));
}

#[tokio::test]
async fn a_change_that_may_have_been_carried_out_is_sent_to_no_other_master() {
    let replies: [fn() -> Reply; 3] = [
        || Reply::Bytes(String::new()),
        || answer(502, "", LEADERLESS),
        || Reply::Silence,
    ];
    for reply in replies {
        let first = Canned::start(move |_| reply()).await;
        let second = Canned::start(|_| json(200, "{}")).await;
        let client = client(&[&first.url, &second.url]).with_timeout(Duration::from_millis(100));

        let error = client
            .send(Method::DELETE, "/v2/apps/x", None)
            .await
            .expect_err("no answer");

        assert_eq!(error.effect(), Effect::Unknown, "{error}");
        assert_eq!(second.lines(), [""; 0], "{error}");
        // What is asked next, to see what became of it, is asked elsewhere.
        assert_eq!(client.get("/v2/apps/x").await, Ok(json!({})));
        assert_eq!(first.lines().len(), 1);
    }
}

#[tokio::test]
async fn when_no_master_answers_the_error_names_every_one() {
    let (one, two) = (gone().await, gone().await);

    let error = client(&[&one, &two])
        .get("/v2/info")
        .await
        .expect_err("nobody");

    let told = error.to_string();
    assert!(told.contains(&one) && told.contains(&two), "{told}");
}

#[tokio::test]
async fn credentials_go_to_every_master_and_to_a_master_that_another_sends_us_on_to() {
    let leader = Canned::start(|_| json(200, "1")).await;
    let there = leader.url.clone();
    let standby =
        Canned::start(move |_| answer(307, &format!("Location: {there}/v2/info\r\n"), "")).await;
    let client = with_password(&[&standby.url, &leader.url]);

    assert_eq!(client.get("/v2/info").await, Ok(json!(1)));

    // RFC 7617, section 2: the example.
    let basic = Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(standby.asked()[0].header("authorization"), basic);
    assert_eq!(leader.asked()[0].header("authorization"), basic);
}

#[tokio::test]
async fn an_answer_is_not_taken_from_a_host_that_is_no_master() {
    let stranger = Canned::start(|_| json(200, "1")).await;
    let there = stranger.url.clone();
    let master =
        Canned::start(move |_| answer(302, &format!("Location: {there}/v2/info\r\n"), "")).await;

    let error = with_password(&[&master.url])
        .get("/v2/info")
        .await
        .expect_err("is not followed");

    assert!(matches!(error, DriverError::Refused { .. }), "{error}");
    assert_eq!(stranger.lines(), [""; 0]);
}

/// Marathon 1.7 and later: a standby sends readers of the event stream on to the leader, by the leader's own name.
#[tokio::test]
async fn a_stream_of_events_is_followed_to_the_leader_without_the_credentials() {
    let leader = Canned::start(|_| {
        Reply::Bytes(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                .to_owned(),
        )
    })
    .await;
    let there = leader.url.clone();
    let standby = Canned::start(move |asked| match asked.line.as_str() {
        "GET /v2/events" => answer(302, &format!("Location: {there}/v2/events\r\n"), ""),
        _ => json(404, r#"{"message":"App '/x' does not exist"}"#),
    })
    .await;
    let marathon = Marathon::open(password_access(&[&standby.url])).expect("an address");

    let seen = marathon.observe(&[RevisionId::from("/x")]).await;
    assert_eq!(seen, Ok(vec![]));
    marathon.changed().await;

    assert_eq!(leader.lines()[0], "GET /v2/events");
    assert_eq!(leader.asked()[0].header("authorization"), None);
    assert!(standby.asked()[0].header("authorization").is_some());
}

#[tokio::test]
async fn who_is_refused_is_told_as_whom_teal_came_and_never_with_what() {
    let asks = |status| {
        Canned::start(move |_| {
            answer(
                status,
                "WWW-Authenticate: Basic realm=\"m\"\r\n",
                "<html>no</html>",
            )
        })
    };
    let (unknown, forbidden) = (asks(401).await, asks(403).await);

    let error = with_password(&[&unknown.url]).get("/").await;
    let Err(DriverError::Unauthorized { message, .. }) = &error else {
        panic!("{error:?}")
    };
    assert!(message.contains("asks for basic"), "{message}");
    assert!(message.contains("the name Aladdin"), "{message}");
    assert!(!format!("{error:?}").contains("sesame"), "{error:?}");

    let error = client(&[&unknown.url]).get("/").await;
    let Err(DriverError::Unauthorized { message, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(message.contains("no credentials"), "{message}");

    let error = with_password(&[&forbidden.url]).get("/").await;
    let Err(DriverError::Forbidden { message, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(message.contains("the name Aladdin"), "{message}");
    assert_eq!(unknown.lines().len(), 2, "a password is not tried twice");
}

#[tokio::test]
async fn a_token_whose_file_has_changed_is_read_again_when_it_is_refused() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"new\n").expect("is written");
    let server = Canned::start(|asked| match asked.header("authorization") {
        Some("token=new") => json(200, "1"),
        _ => answer(401, "", ""),
    })
    .await;
    let token = |file| Credentials::Token {
        token: Secret::new("old"),
        from: "a file".to_owned(),
        file,
    };
    let open = |credentials| {
        let access = Access {
            credentials,
            ..Access::at(&server.url)
        };
        Client::open(access).expect("an address")
    };

    let renewed = open(token(Some(TokenFile::Plain(file.path().to_owned()))))
        .send(Method::POST, "/v2/apps", None)
        .await;
    assert_eq!(renewed, Ok((200, json!(1))));
    assert_eq!(server.lines().len(), 2);

    let error = open(token(None)).get("/v2/apps").await;
    assert!(
        matches!(error, Err(DriverError::Unauthorized { .. })),
        "{error:?}"
    );
    assert_eq!(server.lines().len(), 3, "it is not asked again in vain");
}

fn client(urls: &[&str]) -> Client {
    Client::open(access(urls)).expect("addresses")
}

fn with_password(urls: &[&str]) -> Client {
    Client::open(password_access(urls)).expect("addresses")
}

fn access(urls: &[&str]) -> Access {
    Access {
        urls: urls.iter().map(|&url| url.to_owned()).collect(),
        ..Access::default()
    }
}

fn password_access(urls: &[&str]) -> Access {
    Access {
        credentials: Credentials::Basic {
            user: "Aladdin".to_owned(),
            password: Secret::new("open sesame"),
        },
        ..access(urls)
    }
}

/// Returns an address where nobody listens.
async fn gone() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("binds");
    format!("http://{}", listener.local_addr().expect("is bound"))
}

#[test]
fn an_empty_list_of_masters_is_refused() {
    let error = Client::open(Access::default()).expect_err("nobody to ask");

    assert!(matches!(error, DriverError::Unusable { .. }), "{error}");
}
