//! Which DC/OS cluster the DC/OS command line talks to, read from that program's own settings: the folder `~/.dcos`
//! and the variables `DCOS_*`. Nothing is written there.
//!
//! Sources: dcos/dcos-cli, pkg/config/manager.go (which cluster) and config.go (keys); DC/OS's documentation of the
//! variables. The token of a file goes to the cluster of that file alone: it is not used when `DCOS_URL` names another,
//! and it is not sent to a Marathon of another origin (`marathon.url`), as the command line does not send it either.

use crate::DriverError;
use crate::auth::{Account, Credentials, ServiceAccount, TokenFile};
use crate::http::{Access, Base, Trust};
use crate::secret::Secret;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the Admin Router of DC/OS has Marathon's API.
const MARATHON_PATH: &str = "/service/marathon";
const ATTACH_HINT: &str =
    "`dcos cluster attach NAME` picks one, DCOS_CLUSTER=NAME picks one for this command";
const SETUP_HINT: &str = "`dcos cluster setup URL` makes the settings; without the DC/OS command line, write \
                          --marathon dcos+https://master.example.com";
const ACCOUNT_HINT: &str = "it is the JSON of a service account, or the path of a file with it";
const FILE_HINT: &str = "`dcos config show` tells whether the DC/OS command line can read it";

/// A cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its address: that of its Admin Router.
    pub url: String,
    /// Where its Marathon is.
    pub marathon: String,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// The token that its users' command line holds, if it has one.
    pub token: Credentials,
    /// Where all this was read, for people.
    pub found: String,
}

impl Cluster {
    /// Returns the cluster whose Admin Router is at `url`, with its usual Marathon: `https://master`, or with the path
    /// of another Marathon, `https://master/service/marathon-user`.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when this is no such address.
    pub fn at(url: &str) -> Result<Self, DriverError> {
        let marathon = Base::read(url)?;
        let router = marathon.with_prefix("");
        let marathon = if router == marathon {
            marathon.with_prefix(MARATHON_PATH)
        } else {
            marathon
        };
        Ok(Self {
            url: router.to_string(),
            marathon: marathon.to_string(),
            trust: Trust::System,
            token: Credentials::None,
            found: url.to_owned(),
        })
    }

    /// Returns the cluster that the DC/OS command line is attached to. `variable` reads the environment.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when there is none, or when its file cannot be used or can be read by others.
    pub fn attached(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, DriverError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = match config_file(&set)? {
            Some(path) => Some(Config::read(path)?),
            None => None,
        };
        let from_file = |section: &str, key: &str| file.as_ref()?.get(section, key);
        let in_file = from_file("core", "dcos_url");
        let account = match set("DCOS_SERVICE_ACCOUNT_CREDENTIAL") {
            Some(told) => Some(service_account(&told)?),
            None => None,
        };
        let url = set("DCOS_URL")
            .or_else(|| in_file.clone())
            .or_else(|| router_of(account.as_ref()?));
        let Some(url) = url else {
            return Err(unusable(
                "DC/OS",
                "no cluster is set up: there is neither DCOS_URL nor a file with core.dcos_url",
                SETUP_HINT,
            ));
        };
        let router = Base::read(&url)?;
        let same = in_file.is_some_and(|told| {
            Base::read(&told).is_ok_and(|told| told.origin() == router.origin())
        });
        let marathon = set("DCOS_MARATHON_URL")
            .or_else(|| from_file("marathon", "url").filter(|_| same))
            .unwrap_or_else(|| format!("{router}{MARATHON_PATH}"));
        let trust = set("DCOS_SSL_VERIFY").or_else(|| from_file("core", "ssl_verify"));
        let token = match (set("DCOS_ACS_TOKEN"), account, &file) {
            (Some(token), _, _) => Credentials::Token {
                token: Secret::new(&token),
                from: "DCOS_ACS_TOKEN".to_owned(),
                file: None,
            },
            (None, Some(account), _) => Credentials::Login(Account::Service(account)),
            (None, None, Some(file)) if same => file.token(),
            (None, None, _) => Credentials::None,
        };
        Ok(Self {
            marathon: Base::read(&marathon)?.to_string(),
            url: router.to_string(),
            trust: trust.map_or(Trust::System, |verify| trust_of(&verify)),
            token,
            found: match &file {
                Some(file) => file.path.display().to_string(),
                None => "the environment".to_owned(),
            },
        })
    }

    /// Returns how its Marathon is reached: with these credentials, or with its token when there are none.
    #[must_use]
    pub fn access(self, credentials: Credentials) -> Access {
        Access {
            urls: vec![self.marathon],
            trust: self.trust,
            credentials: match credentials {
                Credentials::None => self.token,
                given @ (Credentials::Basic { .. }
                | Credentials::Token { .. }
                | Credentials::Login(_)) => given,
            },
            credentials_for: Some(vec![self.url]),
        }
    }
}

/// One `dcos.toml`.
struct Config {
    path: PathBuf,
    table: toml::Table,
}

impl Config {
    fn read(path: PathBuf) -> Result<Self, DriverError> {
        let what = path.display().to_string();
        let mode = std::fs::metadata(&path)
            .map_err(|error| unusable(&what, &error.to_string(), FILE_HINT))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(unusable(
                &what,
                &format!(
                    "others on this machine may read or write it (mode {:03o}), and it holds a token",
                    mode & 0o777
                ),
                "chmod 600 FILE",
            ));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|error| unusable(&what, &error.to_string(), FILE_HINT))?;
        // The parser's whole message repeats the line, and that may be the token's.
        let table = text
            .parse()
            .map_err(|error: toml::de::Error| unusable(&what, error.message(), FILE_HINT))?;
        Ok(Self { path, table })
    }

    fn get(&self, section: &str, key: &str) -> Option<String> {
        let value = self.table.get(section)?.get(key)?;
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (!text.is_empty()).then_some(text)
    }

    fn token(&self) -> Credentials {
        match self.get("core", "dcos_acs_token") {
            Some(token) => Credentials::Token {
                token: Secret::new(&token),
                from: self.path.display().to_string(),
                file: Some(TokenFile::Dcos(self.path.clone())),
            },
            None => Credentials::None,
        }
    }
}

/// Returns the token that a `dcos.toml` holds; None when there is none, or when the file cannot be used any more.
pub(crate) fn token_in(path: &Path) -> Option<Secret> {
    let config = Config::read(path.to_owned()).ok()?;
    let token = config.get("core", "dcos_acs_token")?;
    Some(Secret::new(&token))
}

/// Returns the file of the current cluster: the one that DCOS_CLUSTER names, the only one, or the attached one; where
/// none was ever set up, the one file of older command lines.
fn config_file(set: &dyn Fn(&str) -> Option<String>) -> Result<Option<PathBuf>, DriverError> {
    let folder = set("DCOS_DIR")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".dcos")));
    let clusters = folder
        .as_deref()
        .map(|folder| clusters(&folder.join("clusters")));
    let clusters = clusters.unwrap_or_default();
    if let Some(name) = set("DCOS_CLUSTER") {
        return named(&clusters, &name).map(Some);
    }
    if let Some(older) = set("DCOS_CONFIG") {
        return Ok(Some(PathBuf::from(older)));
    }
    let is_attached = |file: &&PathBuf| file.with_file_name("attached").is_file();
    let attached: Vec<&PathBuf> = clusters.iter().filter(is_attached).collect();
    match (clusters.as_slice(), attached.as_slice()) {
        ([], _) => {
            let older = folder.map(|folder| folder.join("dcos.toml"));
            Ok(older.filter(|file| file.is_file()))
        }
        ([only], _) => Ok(Some(only.clone())),
        (_, [one]) => Ok(Some((*one).clone())),
        (_, []) => Err(unusable(
            "DC/OS",
            "several clusters are set up and none is attached",
            ATTACH_HINT,
        )),
        (_, _) => Err(unusable(
            "DC/OS",
            "several clusters are attached",
            ATTACH_HINT,
        )),
    }
}

/// Returns the files of all clusters, sorted.
fn clusters(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path().join("dcos.toml"));
    let mut files: Vec<PathBuf> = files.filter(|file| file.is_file()).collect();
    files.sort();
    files
}

/// An id is a folder's name; a name stands in the file.
fn named(clusters: &[PathBuf], name: &str) -> Result<PathBuf, DriverError> {
    let id = |file: &PathBuf| {
        file.parent()
            .and_then(Path::file_name)
            .map(ToOwned::to_owned)
    };
    if let Some(file) = clusters
        .iter()
        .find(|file| id(file).is_some_and(|id| id == name))
    {
        return Ok(file.clone());
    }
    let mut found = Vec::new();
    for file in clusters {
        if Config::read(file.clone())?
            .get("cluster", "name")
            .as_deref()
            == Some(name)
        {
            found.push(file);
        }
    }
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(unusable(
            &format!("DCOS_CLUSTER={name}"),
            "no cluster of this name or id is set up",
            "`dcos cluster list` shows them",
        )),
        _ => Err(unusable(
            &format!("DCOS_CLUSTER={name}"),
            "several clusters have this name",
            "`dcos cluster list` shows their ids, which are taken too",
        )),
    }
}

/// Reads what DC/OS puts into the environment of a service that has an account: JSON, or the path of a file with it.
fn service_account(told: &str) -> Result<ServiceAccount, DriverError> {
    let what = "DCOS_SERVICE_ACCOUNT_CREDENTIAL";
    let path = told.strip_prefix("file://").unwrap_or(told);
    if !path.starts_with('/') {
        return ServiceAccount::read(&Secret::new(told), None, what);
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| unusable(&format!("{what}: {path}"), &error.to_string(), ACCOUNT_HINT))?;
    ServiceAccount::read(&Secret::new(&text), None, what)
}

/// An account that says where it logs in says where its cluster is.
fn router_of(account: &ServiceAccount) -> Option<String> {
    let login = Base::read(account.login_endpoint.as_deref()?).ok()?;
    Some(login.with_prefix("").to_string())
}

/// `core.ssl_verify` is true, false, or the path of a file with CAs. The command lines take the spellings of Go's
/// `strconv.ParseBool`.
fn trust_of(verify: &str) -> Trust {
    match verify {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Trust::System,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Trust::Anybody,
        path => Trust::Also(PathBuf::from(path)),
    }
}

fn unusable(what: &str, reason: &str, hint: &'static str) -> DriverError {
    DriverError::Unusable {
        what: what.to_owned(),
        reason: reason.to_owned(),
        hint,
    }
}

#[cfg(test)]
mod tests;
