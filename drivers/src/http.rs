//! One small HTTP client for all drivers: a system at one or several addresses, JSON in and out, a timeout for every
//! call, a limit for every answer, TLS, and credentials that go to that system alone.
//!
//! It never resends a change that may have been carried out. What has several masters is asked at the next one when
//! one cannot be reached or has no leader to pass a question on to; a change goes to the next one only when it was
//! surely not sent. A `GET` that dies on a connection that the server had closed is asked once more. A call that was
//! refused for its token (401) is repeated once with another token, because it was surely not carried out.
//!
//! Redirects are followed only of a `GET`: to the addresses of the system itself, and for a stream of events, which is
//! a cue and no truth, anywhere, but without credentials ([`crate::auth`] says where those go).

mod answer;
mod base;
mod complaint;
mod tls;
mod wire;

pub use answer::Answer;
pub(crate) use base::{Base, Origin};
pub use hyper::Method;
pub use tls::Trust;
pub use wire::{ANSWER_BYTES_MAX, CONNECT_TIMEOUT};
pub(crate) use wire::{
    PlainWire, Wire, plain_wire, plain_wire_that_keeps_nothing, post_once, root_cause, too_slow,
};

use crate::DriverError;
use crate::auth::{Auth, Credentials, Pass};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a call may take, answer included, unless told otherwise. Marathon serialises changes: seconds are usual
/// under load.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How many redirects in a row are followed.
const REDIRECTS_MAX: usize = 3;

/// What stays as it is in one segment of a path (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How a system is reached, and as whom.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Its addresses, `http://host:port` or `https://host/path`. Each must lead to the same system; the first is tried
    /// first.
    pub urls: Vec<String>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// As whom teal comes.
    pub credentials: Credentials,
    /// Addresses to whose origins (scheme, host and port) the credentials go; None is `urls`.
    pub credentials_for: Option<Vec<String>>,
}

impl Access {
    /// Returns how a system is reached at one address that asks for no credentials.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            urls: vec![url.to_owned()],
            ..Self::default()
        }
    }
}

/// A client of one system.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    wire: Wire,
    masters: Vec<Base>,
    /// Which master is asked first: the last that answered.
    good: AtomicUsize,
    auth: Auth,
}

/// What is asked.
struct Question<'a> {
    method: &'a Method,
    path: &'a str,
    accept: &'static str,
    body: Option<Bytes>,
    want: Want,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// The whole answer.
    Answer,
    /// The body as it comes, of an answer that says yes.
    Stream,
}

enum Got {
    Answer(Answer),
    Stream(Incoming),
}

/// Why there is no answer of one master.
struct Trouble {
    error: DriverError,
    /// Whether the request may have reached it.
    sent: bool,
}

impl Client {
    /// Returns a client for the system at `url`: `http://host:port` or `https://host`, optionally with a path that goes
    /// before every other. Nothing is sent yet.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when this is no such address.
    pub fn new(url: &str) -> Result<Self, DriverError> {
        Self::open(Access::at(url))
    }

    /// Returns a client for a system. Nothing is sent yet, no login either.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when an address, a file or a secret cannot be used.
    pub fn open(access: Access) -> Result<Self, DriverError> {
        let read = |urls: &[String]| -> Result<Vec<Base>, DriverError> {
            urls.iter().map(|url| Base::read(url)).collect()
        };
        let masters = read(&access.urls)?;
        if masters.is_empty() {
            return Err(DriverError::Unusable {
                what: "an empty list of addresses".to_owned(),
                reason: "there is nobody to ask".to_owned(),
                hint: "write it like http://master-1:8080,http://master-2:8080",
            });
        }
        let believed = match &access.credentials_for {
            None => masters.clone(),
            Some(urls) => read(urls)?,
        };
        let origins = believed.iter().map(Base::origin).collect();
        let auth = Auth::new(access.credentials, origins, &masters)?;
        let any_https = masters.iter().any(Base::is_https) || auth.logs_in_by_tls();
        let config = if any_https {
            access.trust.config()?
        } else {
            tls::believe_nobody()
        };
        Ok(Self {
            shared: Arc::new(Shared {
                wire: wire::wire(config),
                masters,
                good: AtomicUsize::new(0),
                auth,
            }),
            timeout: CALL_TIMEOUT,
        })
    }

    /// Returns the client with another limit for the time that a call may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the addresses of the system, without a slash at the end, as they were given.
    #[must_use]
    pub fn url(&self) -> String {
        let all: Vec<String> = self.shared.masters.iter().map(Base::to_string).collect();
        all.join(",")
    }

    /// Returns the address that is asked first: the last that answered.
    #[must_use]
    pub fn current_url(&self) -> String {
        self.master(self.shared.good.load(Ordering::Relaxed))
            .to_string()
    }

    /// Returns as whom teal comes.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        self.shared.auth.credentials()
    }

    /// Tells whether credentials travel so that others on the way can read them: over plain HTTP to another machine.
    #[must_use]
    pub fn exposes_credentials(&self) -> bool {
        let secret = !matches!(self.credentials(), Credentials::None);
        secret && self.shared.auth.origins().iter().any(Origin::is_exposed)
    }

    /// Gets a JSON document. `path` begins with a slash and may carry a query.
    ///
    /// # Errors
    /// Every kind: see [`Answer::accept`].
    pub async fn get(&self, path: &str) -> Result<Value, DriverError> {
        self.call(Method::GET, path, None).await?.accept()
    }

    /// Sends a request and returns the status and the JSON of an answer that says yes; null where it has no body.
    ///
    /// # Errors
    /// Every kind: see [`Answer::accept`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), DriverError> {
        let answer = self.call(method, path, body).await?;
        Ok((answer.status, answer.accept()?))
    }

    /// Sends a request and returns the answer, whatever its status.
    ///
    /// # Errors
    /// [`DriverError::Unreachable`] when no whole answer came in time, [`DriverError::Untrusted`] when the server's
    /// certificate is not believed, [`DriverError::Malformed`] when the answer is too long, and what a login can end
    /// with.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, DriverError> {
        let question = Question {
            method: &method,
            path,
            accept: "application/json",
            body: body.map(|body| Bytes::from(body.to_string())),
            want: Want::Answer,
        };
        match self.ask(&question).await? {
            Got::Answer(answer) => Ok(answer),
            Got::Stream(_) => Err(DriverError::Malformed {
                url: self.current_url(),
                reason: "a stream came where an answer was asked for".to_owned(),
            }),
        }
    }

    /// Opens a stream of bytes that ends when the server or the caller drops it. The timeout is for its head.
    pub(crate) async fn stream(
        &self,
        path: &str,
        accept: &'static str,
    ) -> Result<Incoming, DriverError> {
        let question = Question {
            method: &Method::GET,
            path,
            accept,
            body: None,
            want: Want::Stream,
        };
        match self.ask(&question).await? {
            Got::Stream(body) => Ok(body),
            Got::Answer(answer) => Err(answer.error()),
        }
    }

    /// Asks, and once more with another token when the first was refused.
    async fn ask(&self, question: &Question<'_>) -> Result<Got, DriverError> {
        let auth = &self.shared.auth;
        let pass = auth.pass(&self.shared.wire).await?;
        let got = self.ask_masters(question, pass.as_ref()).await?;
        let Some(refused) = pass.filter(|_| got.refuses_credentials()) else {
            return Ok(got);
        };
        if !auth.renew(&self.shared.wire, &refused).await? {
            return Ok(got);
        }
        let pass = auth.pass(&self.shared.wire).await?;
        self.ask_masters(question, pass.as_ref()).await
    }

    /// Asks one master after the other, beginning with the last that answered.
    async fn ask_masters(
        &self,
        question: &Question<'_>,
        pass: Option<&Pass>,
    ) -> Result<Got, DriverError> {
        let count = self.shared.masters.len();
        let first = self.shared.good.load(Ordering::Relaxed);
        let deadline = Instant::now() + self.timeout;
        let mut silent = Vec::new();
        let mut leaderless = None;
        for step in 0..count {
            let index = first + step;
            let limit = question.limit(deadline, count - step);
            let asked = self.ask_at(self.master(index), question, pass);
            let came = match timeout(limit, asked).await {
                Ok(came) => came,
                Err(_) => Err(Trouble {
                    error: too_slow(&self.master(index).uri(question.path)?, limit),
                    sent: true,
                }),
            };
            match came {
                Ok(Got::Answer(answer)) if answer.is_leaderless() => {
                    if !question.is_read() {
                        self.prefer(index + 1);
                        return Ok(Got::Answer(answer));
                    }
                    leaderless = Some(answer);
                }
                Ok(got) => {
                    self.prefer(index);
                    return Ok(got);
                }
                Err(trouble) if trouble.sent && !question.is_read() => {
                    self.prefer(index + 1);
                    return Err(trouble.error);
                }
                Err(trouble) if trouble.is_final() => return Err(trouble.error),
                Err(trouble) => silent.push(trouble.error),
            }
        }
        match leaderless {
            Some(answer) => Ok(Got::Answer(answer)),
            None => Err(together(silent)),
        }
    }

    fn master(&self, index: usize) -> &Base {
        &self.shared.masters[index % self.shared.masters.len()]
    }

    fn prefer(&self, index: usize) {
        let index = index % self.shared.masters.len();
        self.shared.good.store(index, Ordering::Relaxed);
    }

    async fn ask_at(
        &self,
        master: &Base,
        question: &Question<'_>,
        pass: Option<&Pass>,
    ) -> Result<Got, Trouble> {
        let mut uri = master.uri(question.path).map_err(Trouble::unsent)?;
        let mut redirects = 0;
        loop {
            let pass = pass.filter(|_| self.shared.auth.is_for(&uri));
            let response = self.head(question, &uri, pass).await?;
            if question.want == Want::Stream && response.status().is_success() {
                return Ok(Got::Stream(response.into_body()));
            }
            let mut answer = wire::take(question.method, &uri, response)
                .await
                .map_err(Trouble::sent)?;
            answer.came_as = pass.map(|_| self.credentials().to_string());
            match self.onward(question, &uri, &answer) {
                Some(next) if redirects < REDIRECTS_MAX => uri = next,
                Some(_) | None => return Ok(Got::Answer(answer)),
            }
            redirects += 1;
        }
    }

    /// Returns where a redirect leads, when it is one that is followed.
    fn onward(&self, question: &Question<'_>, from: &Uri, answer: &Answer) -> Option<Uri> {
        if !question.is_read() || !(300..400).contains(&answer.status) {
            return None;
        }
        let next = base::onward(from, answer.location.as_deref()?)?;
        let origin = Origin::of(&next)?;
        let mut ours = self.shared.masters.iter().map(Base::origin);
        let followed = question.want == Want::Stream || ours.any(|ours| ours == origin);
        followed.then_some(next)
    }

    async fn head(
        &self,
        question: &Question<'_>,
        uri: &Uri,
        pass: Option<&Pass>,
    ) -> Result<Response<Incoming>, Trouble> {
        let mut again = question.is_read();
        loop {
            let request = question.request(uri, pass).map_err(Trouble::unsent)?;
            match self.shared.wire.request(request).await {
                Ok(response) => return Ok(response),
                Err(error) if again && !error.is_connect() => again = false,
                Err(error) => return Err(Trouble::of(uri, &error)),
            }
        }
    }
}

impl Question<'_> {
    fn is_read(&self) -> bool {
        *self.method == Method::GET
    }

    /// A question that may go on to other masters leaves them their share of the time. A change does not go on.
    fn limit(&self, deadline: Instant, masters_left: usize) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now());
        match u32::try_from(masters_left) {
            Ok(masters) if self.is_read() && masters > 1 => left / masters,
            Ok(_) | Err(_) => left,
        }
    }

    fn request(&self, uri: &Uri, pass: Option<&Pass>) -> Result<Request<Full<Bytes>>, DriverError> {
        let mut request = wire::request(self.method, uri, self.accept, self.body.clone())?;
        if let Some(pass) = pass {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, pass.header().clone());
        }
        Ok(request)
    }
}

impl Got {
    fn refuses_credentials(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.status == 401 && answer.came_as.is_some(),
            Self::Stream(_) => false,
        }
    }
}

impl Trouble {
    const fn unsent(error: DriverError) -> Self {
        Self { error, sent: false }
    }

    const fn sent(error: DriverError) -> Self {
        Self { error, sent: true }
    }

    fn of(uri: &Uri, error: &legacy::Error) -> Self {
        Self {
            error: wire::unreachable(uri, error),
            sent: !error.is_connect(),
        }
    }

    /// Another master would say the same.
    const fn is_final(&self) -> bool {
        matches!(
            self.error,
            DriverError::Malformed { .. } | DriverError::Unusable { .. }
        )
    }
}

/// Makes one error of those of all masters.
fn together(mut errors: Vec<DriverError>) -> DriverError {
    let untrusted = |error: &DriverError| matches!(error, DriverError::Untrusted { .. });
    if errors.len() <= 1 || errors.iter().all(untrusted) {
        return errors.pop().unwrap_or_else(|| DriverError::Unreachable {
            url: "any master".to_owned(),
            reason: "there is none".to_owned(),
        });
    }
    let each: Vec<String> = errors.iter().map(DriverError::to_string).collect();
    DriverError::Unreachable {
        url: "any master".to_owned(),
        reason: each.join("; "),
    }
}

/// Encodes a text as one segment of a path, or as one value of a query.
#[must_use]
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_shows_none_of_its_secrets() {
        let client = Client::open(Access {
            credentials: Credentials::Basic {
                user: "bob".to_owned(),
                password: crate::Secret::new("s3cr3t"),
            },
            ..Access::at("http://127.0.0.1:8080")
        })
        .expect("can be used");

        let shown = format!("{client:?} {} {}", client.credentials(), client.url());
        assert!(
            shown.contains("bob") && !shown.contains("s3cr3t"),
            "{shown}"
        );
        assert!(!client.exposes_credentials());
    }
}
