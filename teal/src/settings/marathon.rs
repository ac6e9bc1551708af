//! Which Marathon, and as whom: flags, then `TEAL_MARATHON*` environment, then `teal.toml`, then this machine's own.
//!
//! Secrets come from files, the environment or standard input, never from a flag. Credentials go with the address:
//! those of `teal.toml` are for its own `marathon` alone, so that `--marathon` with another address does not carry
//! them there. A cluster of the DC/OS command line is used when it is asked for by name, never because it is there.

use super::addresses;
use crate::failure::{Exit, Failure};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use teal_core::problem::Problem;
use teal_drivers::auth::{Account, Credentials, ServiceAccount, TokenFile};
use teal_drivers::dcos::Cluster;
use teal_drivers::http::{Access, Trust};
use teal_drivers::{DriverError, Secret};

/// Where `teal up` has its engine.
const DEFAULT: &str = "http://127.0.0.1:8080";
/// The address that means the cluster of the DC/OS command line.
const DCOS: &str = "dcos";
/// What goes before the address of a DC/OS cluster.
const DCOS_PLUS: &str = "dcos+";
/// How long a file with a secret may be.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
const KINDS_HINT: &str = "give one of: user and password, a token, a service account (flags, TEAL_MARATHON_… or teal.toml)";

/// The flags.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct MarathonArgs {
    /// Where Marathon's API is: URL[,URL…] of its masters; `dcos` for the cluster that the DC/OS command line is
    /// attached to; dcos+https://MASTER for a DC/OS cluster by its address [default: http://127.0.0.1:8080]
    #[arg(long, global = true, env = "TEAL_MARATHON", value_name = "URL")]
    marathon: Option<String>,
    /// The name that teal comes with: basic authentication, or the login of DC/OS
    #[arg(
        long,
        global = true,
        env = "TEAL_MARATHON_USER",
        value_name = "NAME",
        hide_short_help = true
    )]
    marathon_user: Option<String>,
    /// The file with the password that goes with the name (- reads standard input), or TEAL_MARATHON_PASSWORD
    #[arg(
        long,
        global = true,
        env = "TEAL_MARATHON_PASSWORD_FILE",
        value_name = "FILE",
        hide_short_help = true
    )]
    marathon_password_file: Option<PathBuf>,
    /// The file with a token (- reads standard input), or TEAL_MARATHON_TOKEN; sent as `Authorization: token=…`
    #[arg(
        long,
        global = true,
        env = "TEAL_MARATHON_TOKEN_FILE",
        value_name = "FILE",
        hide_short_help = true
    )]
    marathon_token_file: Option<PathBuf>,
    /// The file of a DC/OS service account: JSON with uid and private_key, or the key alone with --marathon-user
    #[arg(
        long,
        global = true,
        env = "TEAL_MARATHON_SERVICE_ACCOUNT",
        value_name = "FILE",
        hide_short_help = true
    )]
    marathon_service_account: Option<PathBuf>,
    /// The PEM file of a CA that Marathon's certificate may be signed by, beside the system's
    #[arg(
        long,
        global = true,
        env = "TEAL_MARATHON_CA",
        value_name = "FILE",
        hide_short_help = true
    )]
    marathon_ca: Option<PathBuf>,
    /// Believe whoever answers at the address, without a look at its certificate
    #[arg(long, global = true, env = "TEAL_MARATHON_TLS_WITHOUT_VERIFICATION", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", require_equals = true, hide_short_help = true)]
    marathon_tls_without_verification: Option<bool>,
}

/// The keys of `teal.toml`.
#[derive(Debug, Clone, Default)]
pub(super) struct MarathonKeys {
    args: MarathonArgs,
}

impl MarathonKeys {
    pub(super) const NAMES: [&str; 7] = [
        "marathon",
        "marathon_user",
        "marathon_password_file",
        "marathon_token_file",
        "marathon_service_account",
        "marathon_ca",
        "marathon_tls_without_verification",
    ];

    /// Takes a key of one of these names.
    pub(super) fn set(&mut self, name: &str, value: &toml::Value) -> Result<(), Problem> {
        let text = || {
            let text = value.as_str().map(str::to_owned);
            text.ok_or_else(|| Problem::new(name, "it is not a text"))
        };
        let file = || text().map(|text| Some(PathBuf::from(text)));
        match name {
            "marathon" => {
                let example = "[\"http://master-1:8080\", \"http://master-2:8080\"]";
                self.args.marathon = Some(addresses(name, value, example)?);
            }
            "marathon_user" => self.args.marathon_user = Some(text()?),
            "marathon_password_file" => self.args.marathon_password_file = file()?,
            "marathon_token_file" => self.args.marathon_token_file = file()?,
            "marathon_service_account" => self.args.marathon_service_account = file()?,
            "marathon_ca" => self.args.marathon_ca = file()?,
            _ => {
                let said = value.as_bool();
                let said = said.ok_or_else(|| Problem::new(name, "it is neither true nor false"));
                self.args.marathon_tls_without_verification = Some(said?);
            }
        }
        Ok(())
    }
}

/// Which Marathon, as it was said. Files are read when somebody first asks for it, and once: a pipe can be read once.
#[derive(Debug, Clone)]
pub(crate) struct MarathonPlace {
    address: String,
    said: MarathonArgs,
    password: Option<Secret>,
    token: Option<Secret>,
    access: Arc<OnceLock<Access>>,
}

impl MarathonPlace {
    /// Returns the Marathon at one address that asks for no credentials.
    pub(crate) fn at(url: String) -> Self {
        Self::new(url, MarathonArgs::default())
    }

    /// Returns the Marathon at one address that asks for the token in a file, where there is one.
    pub(crate) fn guarded(url: String, token_file: Option<PathBuf>) -> Self {
        let said = MarathonArgs {
            marathon_token_file: token_file,
            ..MarathonArgs::default()
        };
        Self::new(url, said)
    }

    fn new(address: String, said: MarathonArgs) -> Self {
        Self {
            address,
            said,
            password: None,
            token: None,
            access: Arc::default(),
        }
    }

    /// Joins what was said for this run with what the project says. `variable` reads the environment.
    pub(super) fn resolve(
        args: &MarathonArgs,
        keys: &MarathonKeys,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let secret = |name: &str| {
            let text = variable(name).filter(|text| !text.is_empty());
            text.map(|text| Secret::new(&text))
        };
        let (password, token) = (
            secret("TEAL_MARATHON_PASSWORD"),
            secret("TEAL_MARATHON_TOKEN"),
        );
        let mut said = args.clone();
        if args.marathon.is_none() {
            let project = keys.args.clone();
            said.marathon = project.marathon;
            if said.marathon_tls_without_verification.is_none() && said.marathon_ca.is_none() {
                said.marathon_ca = project.marathon_ca;
                said.marathon_tls_without_verification = project.marathon_tls_without_verification;
            }
            if !args.names_credentials() && password.is_none() && token.is_none() {
                said.marathon_user = project.marathon_user;
                said.marathon_password_file = project.marathon_password_file;
                said.marathon_token_file = project.marathon_token_file;
                said.marathon_service_account = project.marathon_service_account;
            }
        }
        let address = said.marathon.clone().unwrap_or_else(|| DEFAULT.to_owned());
        Self {
            password,
            token,
            ..Self::new(address, said)
        }
    }

    /// Returns what was said of where it is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns how it is reached and as whom. Files and standard input are read at the first call.
    pub(crate) fn access(&self) -> Result<Access, Failure> {
        if let Some(access) = self.access.get() {
            return Ok(access.clone());
        }
        let access = self.read()?;
        Ok(self.access.get_or_init(|| access).clone())
    }

    fn read(&self) -> Result<Access, Failure> {
        let without = self.said.marathon_tls_without_verification == Some(true);
        let trust = match (&self.said.marathon_ca, without) {
            (None, false) => None,
            (Some(file), false) => Some(Trust::Also(file.clone())),
            (None, true) => Some(Trust::Anybody),
            (Some(_), true) => {
                return Err(invalid(
                    "a CA is named, and certificates are not to be verified",
                    "leave out --marathon-ca or --marathon-tls-without-verification",
                ));
            }
        };
        let cluster = if self.address == DCOS {
            let variable = |name: &str| std::env::var(name).ok();
            Some(Cluster::attached(&variable).map_err(|error| unusable("--marathon", &error))?)
        } else if let Some(url) = self.address.strip_prefix(DCOS_PLUS) {
            Some(Cluster::at(url).map_err(|error| unusable("--marathon", &error))?)
        } else {
            None
        };
        let credentials = self.credentials(cluster.is_some())?;
        let mut access = match cluster {
            Some(cluster) => cluster.access(credentials),
            None => Access {
                urls: self.addresses()?,
                credentials,
                ..Access::default()
            },
        };
        if let Some(trust) = trust {
            access.trust = trust;
        }
        Ok(access)
    }

    fn addresses(&self) -> Result<Vec<String>, Failure> {
        let all: Vec<String> = self
            .address
            .split(',')
            .map(|one| one.trim().to_owned())
            .filter(|one| !one.is_empty())
            .collect();
        if all
            .iter()
            .any(|one| one == DCOS || one.starts_with(DCOS_PLUS))
        {
            return Err(invalid(
                "--marathon names a DC/OS cluster and other addresses beside it",
                "a DC/OS cluster stands alone: its Admin Router finds the master that leads",
            ));
        }
        Ok(all)
    }

    fn credentials(&self, dcos: bool) -> Result<Credentials, Failure> {
        let said = &self.said;
        let password = match (&said.marathon_password_file, &self.password) {
            (Some(file), _) => Some(secret("--marathon-password-file", file)?),
            (None, password) => password.clone(),
        };
        let token = self.token()?;
        let account = said.marathon_service_account.as_deref();
        let kinds = [password.is_some(), token.is_some(), account.is_some()];
        if kinds.into_iter().filter(|&given| given).count() > 1 {
            return Err(invalid("there are credentials of two kinds", KINDS_HINT));
        }
        if let Some(file) = account {
            let what = format!("--marathon-service-account {}", file.display());
            let text = secret("--marathon-service-account", file)?;
            let account = ServiceAccount::read(&text, said.marathon_user.as_deref(), &what);
            let account = account.map_err(|error| unusable("--marathon", &error))?;
            return Ok(Credentials::Login(Account::Service(account)));
        }
        match (&said.marathon_user, password, token) {
            (None, None, None) => Ok(Credentials::None),
            (None, None, Some(token)) => Ok(token),
            (Some(_), _, Some(_)) => Err(invalid("there are credentials of two kinds", KINDS_HINT)),
            (Some(user), None, None) => Err(invalid(
                &format!("{user} comes without a password"),
                "name a file with --marathon-password-file (- reads standard input)",
            )),
            (None, Some(_), _) => Err(invalid(
                "there is a password and no name to it",
                "give the name with --marathon-user",
            )),
            (Some(uid), Some(password), None) if dcos => {
                let uid = uid.clone();
                Ok(Credentials::Login(Account::User { uid, password }))
            }
            (Some(user), Some(password), None) => Ok(Credentials::Basic {
                user: user.clone(),
                password,
            }),
        }
    }

    fn token(&self) -> Result<Option<Credentials>, Failure> {
        let Some(file) = &self.said.marathon_token_file else {
            let from = "TEAL_MARATHON_TOKEN".to_owned();
            return Ok(self.token.clone().map(|token| Credentials::Token {
                token,
                from,
                file: None,
            }));
        };
        let token = secret("--marathon-token-file", file)?;
        let is_stdin = file == Path::new("-");
        Ok(Some(Credentials::Token {
            token: Secret::new(token.expose().trim()),
            from: if is_stdin {
                "standard input".to_owned()
            } else {
                file.display().to_string()
            },
            file: (!is_stdin).then(|| TokenFile::Plain(file.clone())),
        }))
    }
}

impl MarathonArgs {
    fn names_credentials(&self) -> bool {
        self.marathon_user.is_some()
            || self.marathon_password_file.is_some()
            || self.marathon_token_file.is_some()
            || self.marathon_service_account.is_some()
    }
}

/// Reads a file with a secret; `-` is standard input.
fn secret(flag: &str, file: &Path) -> Result<Secret, Failure> {
    let what = format!("{flag} {}", file.display());
    let mut text = String::new();
    let read = if file == Path::new("-") {
        let stdin = std::io::stdin().lock();
        stdin.take(SECRET_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| {
        invalid(
            &format!("{what}: {error}"),
            "name a file that holds the secret and nothing else",
        )
    })?;
    let secret = Secret::new(&text);
    if secret.is_empty() {
        return Err(invalid(
            &format!("{what}: there is nothing in it"),
            "name a file that holds the secret and nothing else",
        ));
    }
    Ok(secret)
}

fn invalid(what: &str, hint: &str) -> Failure {
    Failure::new(Exit::Invalid, format!("{what}; nothing was changed")).hint(hint)
}

/// Nothing was asked yet: what was said is the mistake, and the operator's. It is not repeated here, because an address
/// may hold a password; the error repeats what holds none.
pub(crate) fn unusable(flag: &str, error: &DriverError) -> Failure {
    let hint = error
        .hint()
        .unwrap_or("write it like http://127.0.0.1:8080");
    invalid(&format!("{flag}: {error}"), hint)
}

#[cfg(test)]
mod tests;
