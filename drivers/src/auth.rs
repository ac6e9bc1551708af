//! As whom teal comes: nobody, a name and a password (basic authentication), a token, or an account that logs in at
//! DC/OS and gets one.
//!
//! The rule of where credentials go: to the origins (scheme, host and port) that the operator named as the system, and
//! nowhere else, whatever a redirect or a header says. A password or a signed login goes to the login address alone.
//! Tokens are held in memory, never on disk.

mod base64;
mod service_account;

pub use service_account::ServiceAccount;

use crate::DriverError;
use crate::http::{Answer, Base, Origin, Wire};
use crate::secret::Secret;
use hyper::Uri;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Where DC/OS lets its users and service accounts log in.
const LOGIN_PATH: &str = "/acs/api/v1/auth/login";
/// How long a login may take at one address.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a refused login is not tried again: an account may be locked after too many.
const REFUSAL_HOLDS: Duration = Duration::from_secs(10);
/// How long a token may be.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// As whom teal comes.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// As nobody.
    #[default]
    None,
    /// With a name and a password in every request (RFC 7617), as Marathon's `--http_credentials` wants them.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// With a token in every request: `Authorization: token=…`, as DC/OS wants it.
    Token {
        /// The token.
        token: Secret,
        /// Where it came from, for people.
        from: String,
        /// The file it came from: it is read again when the token is refused.
        file: Option<TokenFile>,
    },
    /// With the token that this account gets when it logs in.
    Login(Account),
}

/// A file with a token in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenFile {
    /// The token and nothing else.
    Plain(PathBuf),
    /// The settings of the DC/OS command line, where `dcos auth login` leaves its token.
    Dcos(PathBuf),
}

/// An account of DC/OS.
#[derive(Debug, Clone)]
pub enum Account {
    /// A person's.
    User {
        /// The name.
        uid: String,
        /// The password.
        password: Secret,
    },
    /// A service's.
    Service(ServiceAccount),
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no credentials"),
            Self::Basic { user, .. } => write!(f, "the name {user} and a password (basic)"),
            Self::Token { from, .. } => write!(f, "the token of {from}"),
            Self::Login(Account::User { uid, .. }) => write!(f, "the login of the user {uid}"),
            Self::Login(Account::Service(account)) => {
                write!(f, "the login of the service account {}", account.uid)
            }
        }
    }
}

/// What goes into the head of one request.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    header: HeaderValue,
    number: u64,
}

impl Pass {
    pub(crate) const fn header(&self) -> &HeaderValue {
        &self.header
    }
}

/// The credentials of a client, and the token that they got.
#[derive(Debug)]
pub(crate) struct Auth {
    credentials: Credentials,
    /// Where they may be sent.
    origins: Vec<Origin>,
    /// Where an account logs in, in the order in which they are tried.
    logins: Vec<Uri>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    pass: Option<Pass>,
    passes: u64,
    refused: Option<(Instant, DriverError)>,
}

impl Auth {
    /// Returns credentials that go to `origins` and to nobody else.
    pub(crate) fn new(
        credentials: Credentials,
        origins: Vec<Origin>,
        bases: &[Base],
    ) -> Result<Self, DriverError> {
        let logins = match &credentials {
            Credentials::None | Credentials::Basic { .. } | Credentials::Token { .. } => vec![],
            Credentials::Login(account) => account.logins(&origins, bases)?,
        };
        Ok(Self {
            credentials,
            origins,
            logins,
            held: Mutex::default(),
        })
    }

    pub(crate) fn logs_in_by_tls(&self) -> bool {
        self.logins
            .iter()
            .any(|uri| uri.scheme_str() == Some("https"))
    }

    pub(crate) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    pub(crate) const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Tells whether credentials may be sent there.
    pub(crate) fn is_for(&self, uri: &Uri) -> bool {
        Origin::of(uri).is_some_and(|origin| self.origins.contains(&origin))
    }

    /// Returns what to show, or None when teal comes as nobody. An account logs in first when it has not yet.
    pub(crate) async fn pass(&self, wire: &Wire) -> Result<Option<Pass>, DriverError> {
        if matches!(self.credentials, Credentials::None) {
            return Ok(None);
        }
        let mut held = self.held.lock().await;
        if held.pass.is_none() {
            let header = match &self.credentials {
                Credentials::None => return Ok(None),
                Credentials::Basic { user, password } => basic(user, password),
                Credentials::Token { token, from, .. } => by_token(token, from),
                Credentials::Login(account) => self.log_in(wire, account, &mut held).await,
            }?;
            held.show(header);
        }
        Ok(held.pass.clone())
    }

    /// Gets another pass in place of one that was refused, when there is any: an account logs in again, a token's file
    /// is read again. Tells whether it is worth to ask again.
    pub(crate) async fn renew(&self, wire: &Wire, refused: &Pass) -> Result<bool, DriverError> {
        let mut held = self.held.lock().await;
        if held
            .pass
            .as_ref()
            .is_none_or(|pass| pass.number != refused.number)
        {
            return Ok(true);
        }
        let header = match &self.credentials {
            Credentials::None | Credentials::Basic { .. } => return Ok(false),
            Credentials::Token { from, file, .. } => {
                let Some(token) = file.as_ref().and_then(TokenFile::read_again) else {
                    return Ok(false);
                };
                by_token(&token, from)?
            }
            Credentials::Login(account) => self.log_in(wire, account, &mut held).await?,
        };
        if header == refused.header {
            return Ok(false);
        }
        held.show(header);
        Ok(true)
    }

    async fn log_in(
        &self,
        wire: &Wire,
        account: &Account,
        held: &mut Held,
    ) -> Result<HeaderValue, DriverError> {
        if let Some((at, error)) = &held.refused
            && at.elapsed() < REFUSAL_HOLDS
        {
            return Err(error.clone());
        }
        let came = self.log_in_somewhere(wire, account).await;
        held.refused = match &came {
            Err(
                error @ (DriverError::Unauthorized { .. }
                | DriverError::Forbidden { .. }
                | DriverError::Refused { .. }),
            ) => Some((Instant::now(), error.clone())),
            Ok(_) | Err(_) => None,
        };
        by_token(&came?, &self.credentials.to_string())
    }

    /// To log in twice does no harm, so every address is tried until one gives an answer.
    async fn log_in_somewhere(
        &self,
        wire: &Wire,
        account: &Account,
    ) -> Result<Secret, DriverError> {
        let mut failure = None;
        for uri in &self.logins {
            match log_in_at(wire, uri, account).await {
                Err(error) if error.is_retryable() => failure = Some(error),
                done => return done,
            }
        }
        Err(failure.unwrap_or_else(|| DriverError::Unusable {
            what: "the login".to_owned(),
            reason: "there is no address for it".to_owned(),
            hint: "name the cluster's address: https://master.example.com",
        }))
    }
}

impl Held {
    fn show(&mut self, header: HeaderValue) {
        self.passes += 1;
        self.pass = Some(Pass {
            header,
            number: self.passes,
        });
    }
}

impl Account {
    /// Returns where it logs in: where its file says, else at every origin that gets its token.
    fn logins(&self, origins: &[Origin], bases: &[Base]) -> Result<Vec<Uri>, DriverError> {
        if let Self::Service(ServiceAccount {
            login_endpoint: Some(endpoint),
            ..
        }) = self
        {
            return Ok(vec![Base::read(endpoint)?.uri("")?]);
        }
        let ours = bases.iter().filter(|base| origins.contains(&base.origin()));
        ours.map(|base| base.with_prefix("").uri(LOGIN_PATH))
            .collect()
    }

    fn body(&self) -> Result<Value, DriverError> {
        Ok(match self {
            Self::User { uid, password } => json!({ "uid": uid, "password": password.expose() }),
            Self::Service(account) => {
                let token = account.sign(crate::clock::now().0 / 1000)?;
                json!({ "uid": account.uid, "token": token.expose() })
            }
        })
    }
}

async fn log_in_at(wire: &Wire, uri: &Uri, account: &Account) -> Result<Secret, DriverError> {
    let body = account.body()?;
    let answer = timeout(LOGIN_TIMEOUT, crate::http::post_once(wire, uri, &body)).await;
    let answer: Answer = answer.map_err(|_| crate::http::too_slow(uri, LOGIN_TIMEOUT))??;
    answer.check().map_err(|error| login_refused(uri, error))?;
    let told = answer.accept()?;
    match told.get("token").and_then(Value::as_str) {
        Some(token) if !token.is_empty() => Ok(Secret::new(token)),
        Some(_) | None => Err(answer.malformed("it says yes to the login and gives no token")),
    }
}

/// DC/OS answers 400 to a login that it cannot read and 401 to one that it does not believe. Anything that is no DC/OS
/// has no such path.
fn login_refused(uri: &Uri, error: DriverError) -> DriverError {
    let absent = matches!(
        error,
        DriverError::NotFound { .. } | DriverError::Malformed { .. }
    );
    if !absent {
        return error;
    }
    DriverError::Refused {
        what: format!("the login at {uri}"),
        message: "there is no login at this address".to_owned(),
        details: vec!["is this a DC/OS cluster?".to_owned()],
    }
}

impl TokenFile {
    /// Returns the token that the file holds, unless it is gone or no plain file: a pipe can be read once only.
    fn read_again(&self) -> Option<Secret> {
        let file = match self {
            Self::Dcos(file) => return crate::dcos::token_in(file),
            Self::Plain(file) => file,
        };
        let meta = std::fs::metadata(file).ok()?;
        if !meta.is_file() || meta.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let token = Secret::new(std::fs::read_to_string(file).ok()?.trim());
        (!token.is_empty()).then_some(token)
    }
}

fn basic(user: &str, password: &Secret) -> Result<HeaderValue, DriverError> {
    if user.contains(':') {
        return Err(DriverError::Unusable {
            what: format!("the name {user}"),
            reason: "basic authentication cannot tell a name with a colon (RFC 7617)".to_owned(),
            hint: "give the name alone; the password is in its file",
        });
    }
    let both = format!("{user}:{}", password.expose());
    let text = format!("Basic {}", base64::standard(both.as_bytes()));
    header(&text, "the name and the password")
}

fn by_token(token: &Secret, from: &str) -> Result<HeaderValue, DriverError> {
    header(&format!("token={}", token.expose()), from)
}

fn header(text: &str, what: &str) -> Result<HeaderValue, DriverError> {
    let mut header = HeaderValue::from_str(text).map_err(|_| DriverError::Unusable {
        what: what.to_owned(),
        reason: "it holds a character that no header may hold".to_owned(),
        hint: "a token is one line of letters, digits and . - _ / + = ~",
    })?;
    header.set_sensitive(true);
    Ok(header)
}
