//! A DC/OS service account: a name and an RSA key. It logs in with a JSON Web Token that it signs itself (RS256; RFC
//! 7515 and 7518), which holds for a few minutes, so that the key itself never leaves the machine.

use super::base64::url_safe;
use crate::DriverError;
use crate::secret::Secret;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;

/// How long the signed token holds: DC/OS takes up to five minutes, marathon-lb uses one (mesosphere/marathon-lb,
/// common.py).
const HOLDS_SECONDS: u64 = 60;
const HINT: &str = "a service account's file is JSON with uid and private_key, as in DCOS_SERVICE_ACCOUNT_CREDENTIAL, \
                    or the private key alone (PEM), with the account's name in --marathon-user";

/// An account.
#[derive(Clone)]
pub struct ServiceAccount {
    /// Its name.
    pub uid: String,
    /// Where it logs in, if its file tells.
    pub login_endpoint: Option<String>,
    key: Arc<RsaKeyPair>,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount")
            .field("uid", &self.uid)
            .field("login_endpoint", &self.login_endpoint)
            .finish_non_exhaustive()
    }
}

impl ServiceAccount {
    /// Reads the JSON of `DCOS_SERVICE_ACCOUNT_CREDENTIAL` (`uid`, `private_key`, `login_endpoint`), or a private key
    /// in PEM whose account `uid` names. `what` is what messages call it.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when it is neither, and without a word of it.
    pub fn read(text: &Secret, uid: Option<&str>, what: &str) -> Result<Self, DriverError> {
        let unusable = |reason: &str| DriverError::Unusable {
            what: what.to_owned(),
            reason: reason.to_owned(),
            hint: HINT,
        };
        let text = text.expose().trim();
        if !text.starts_with('{') {
            let uid = uid.ok_or_else(|| unusable("it does not name the account"))?;
            return Ok(Self {
                uid: uid.to_owned(),
                login_endpoint: None,
                key: key(text).map_err(|reason| unusable(&reason))?,
            });
        }
        let file: Value = serde_json::from_str(text)
            .map_err(|error| unusable(&format!("it is not JSON: {error}")))?;
        let field = |name: &str| file.get(name).and_then(Value::as_str);
        if let Some(scheme) = field("scheme").filter(|scheme| *scheme != "RS256") {
            return Err(unusable(&format!(
                "it signs by {scheme}, and teal by RS256 alone"
            )));
        }
        let told = field("uid").ok_or_else(|| unusable("it has no `uid`"))?;
        if uid.is_some_and(|uid| uid != told) {
            return Err(unusable(&format!(
                "it is the account {told}, and another was asked for"
            )));
        }
        let pem = field("private_key").ok_or_else(|| unusable("it has no `private_key`"))?;
        Ok(Self {
            uid: told.to_owned(),
            login_endpoint: field("login_endpoint").map(str::to_owned),
            key: key(pem).map_err(|reason| unusable(&reason))?,
        })
    }

    /// Returns a signed token that says who logs in, good from `now`, in seconds since 1970.
    pub(super) fn sign(&self, now: u64) -> Result<Secret, DriverError> {
        let head = json!({ "alg": "RS256", "typ": "JWT" }).to_string();
        let claims = json!({ "uid": self.uid, "exp": now + HOLDS_SECONDS }).to_string();
        let signed = format!(
            "{}.{}",
            url_safe(head.as_bytes()),
            url_safe(claims.as_bytes())
        );
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| DriverError::Unusable {
                what: format!("the key of the service account {}", self.uid),
                reason: "it does not sign".to_owned(),
                hint: HINT,
            })?;
        Ok(Secret::new(&format!("{signed}.{}", url_safe(&signature))))
    }
}

fn key(pem: &str) -> Result<Arc<RsaKeyPair>, String> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "its private key is no PEM block of a private key".to_owned())?;
    let pair = if let PrivateKeyDer::Pkcs8(key) = &key {
        RsaKeyPair::from_pkcs8(key.secret_pkcs8_der())
    } else if let PrivateKeyDer::Pkcs1(key) = &key {
        RsaKeyPair::from_der(key.secret_pkcs1_der())
    } else {
        return Err("its private key is not an RSA key".to_owned());
    };
    pair.map(Arc::new)
        .map_err(|error| format!("its private key cannot be used: {error}"))
}
