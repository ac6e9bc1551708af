//! What `teal doctor` finds out about Marathon: who answers, who leads, as whom teal comes and whether that is enough,
//! whose certificates are believed, and how the clocks stand to each other.

use super::Check;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::settings::Places;
use crate::systems;
use serde_json::Value;
use teal_core::Span;
use teal_drivers::DriverError;
use teal_drivers::auth::Credentials;
use teal_drivers::http::{Access, Answer, Client, Method, Trust};

/// A question that asks for a permission and has a short answer: no app has this label.
const ASK_TO_READ: &str = "/v2/apps?label=teal-doctor-asks-for-a-label-that-no-app-has";
/// Clocks that stand further apart are worth a word: a login of DC/OS holds for a minute.
const SKEW: Span = Span::seconds(30);

/// Asks, and returns what there is to tell: one line when nobody answers.
pub(super) async fn checks(places: &Places) -> Vec<Check> {
    let failed = |failure| vec![Check::new("orchestrator", Exit::Orchestrator, Err(failure))];
    let access = match places.marathon.access() {
        Ok(access) => access,
        Err(failure) => return failed(failure),
    };
    let marathon = match systems::marathon(places) {
        Ok(marathon) => marathon,
        Err(failure) => return failed(failure),
    };
    let client = marathon.client();
    let info = match info(client).await {
        Ok(info) => info,
        Err(error) => return failed(Failure::orchestrator(&error)),
    };
    let mut checks = vec![Check::told("orchestrator", info.sentence(client), None)];
    if access.urls.len() > 1 {
        checks.push(masters(&access).await);
    }
    checks.push(credentials(client).await);
    checks.extend(tls(&access));
    checks.extend(skew(&info.answer));
    checks
}

struct Info {
    answer: Answer,
    body: Value,
}

async fn info(client: &Client) -> Result<Info, DriverError> {
    let answer = client.call(Method::GET, "/v2/info", None).await?;
    let body = answer.accept()?;
    Ok(Info { answer, body })
}

impl Info {
    fn sentence(&self, client: &Client) -> String {
        let text = |name: &str| self.body.get(name).and_then(Value::as_str);
        let leader = self.answer.leader.as_deref().or_else(|| text("leader"));
        format!(
            "{} {} at {}; leader {}",
            text("name").unwrap_or("?"),
            text("version").unwrap_or("?"),
            client.current_url(),
            leader.unwrap_or("unknown"),
        )
    }
}

/// One of several masters that does not answer is no reason to fail: that is what the others are for.
async fn masters(access: &Access) -> Check {
    let mut found = Vec::new();
    let mut hint = None;
    for url in &access.urls {
        let alone = Access {
            urls: vec![url.clone()],
            ..access.clone()
        };
        let said = match Client::open(alone) {
            Ok(client) => info(&client).await,
            Err(error) => Err(error),
        };
        match said {
            Ok(_) => found.push(format!("{url} answers")),
            Err(error) => {
                hint = Some("teal goes on with the others");
                found.push(format!("{url} does not: {error}"));
            }
        }
    }
    Check::told("masters", found.join("; "), hint)
}

async fn credentials(client: &Client) -> Check {
    let whom = client.credentials();
    if let Err(error) = client.get(ASK_TO_READ).await {
        let failure = Failure::orchestrator(&error);
        return Check::new("credentials", Exit::Orchestrator, Err(failure));
    }
    let found = match whom {
        Credentials::None => "none, and none are asked for".to_owned(),
        Credentials::Basic { .. } | Credentials::Token { .. } | Credentials::Login(_) => {
            format!("{whom}: may read (whether it may change is seen at the first change)")
        }
    };
    let exposed = client.exposes_credentials();
    let hint = "they travel in clear text to another machine: use https";
    Check::told("credentials", found, exposed.then_some(hint))
}

fn tls(access: &Access) -> Option<Check> {
    let any = access.urls.iter().any(|url| url.starts_with("https://"));
    if !any {
        return None;
    }
    let hint = match access.trust {
        Trust::Anybody => Some("whoever stands in between can read and change everything"),
        Trust::System | Trust::Also(_) => None,
    };
    let found = format!("the certificate is {}", access.trust);
    Some(Check::told("TLS", found, hint))
}

/// The `Date` of an answer is rounded down to a second.
fn skew(answer: &Answer) -> Option<Check> {
    let (theirs, ours) = (answer.date?, clock::now());
    let (apart, which) = if theirs > ours {
        (theirs.since(ours), "ahead of")
    } else {
        (ours.since(theirs), "behind")
    };
    if apart < Span::seconds(2) {
        return Some(Check::told("clock", "as Marathon's".to_owned(), None));
    }
    let found = format!("Marathon's is {apart} {which} this machine's");
    let hint = "logins may be refused; teal itself reckons with the difference";
    Some(Check::told("clock", found, (apart > SKEW).then_some(hint)))
}
