//! Who may use the API: everybody, or those who know its token.
//!
//! The token comes as DC/OS clients send it (`Authorization: token=…`), as a bearer token (RFC 6750,
//! §2.1), or as the password of basic authentication (RFC 7617) with any user, so that clients of a
//! Marathon behind `--http_credentials` can send it too.

use std::fmt;

use hyper::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

use crate::refusal::Refusal;

/// What whoever uses the API must know. It is shown nowhere.
#[derive(Clone)]
pub struct Token(Box<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// A text that cannot be a token: it must be of visible ASCII characters, and at least eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token has at least {} characters, all of them visible ASCII",
    Token::LENGTH_MIN
)]
pub struct TokenError;

impl Token {
    /// The fewest characters of a token. Fewer could be found by trying.
    pub const LENGTH_MIN: usize = 8;

    /// Takes a token as it stands in a file: white space around it is none of it.
    ///
    /// # Errors
    /// It is too short, or has a character that cannot stand in a header.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let is_sound = text.len() >= Self::LENGTH_MIN && text.bytes().all(|b| b.is_ascii_graphic());
        if is_sound {
            Ok(Self(text.into()))
        } else {
            Err(TokenError)
        }
    }

    /// Refuses a request that does not carry the token.
    ///
    /// # Errors
    /// It carries none, or another one.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|value| std::str::from_utf8(value).ok());
        let given = given.and_then(token_in).unwrap_or_default();
        if bool::from(given.as_bytes().ct_eq(self.0.as_bytes())) {
            Ok(())
        } else {
            Err(Refusal::Unauthorized)
        }
    }
}

/// Returns the token that an `Authorization` header carries, in whatever form.
fn token_in(header: &str) -> Option<String> {
    if let Some(token) = header.strip_prefix("token=") {
        return Some(token.trim().to_owned());
    }
    let (scheme, rest) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(decode_base64(rest.trim())?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    Some(password.to_owned())
}

/// Decodes base64 with or without its padding (RFC 4648, §4).
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut bits = 0_u32;
    let mut held = 0_u32;
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_in_every_form_that_clients_send() {
        let token = Token::new(" open-sesame\n").expect("it is a token");
        for header in [
            "token=open-sesame",
            "Bearer open-sesame",
            "bearer  open-sesame",
            // anybody:open-sesame
            "Basic YW55Ym9keTpvcGVuLXNlc2FtZQ==",
            "basic YW55Ym9keTpvcGVuLXNlc2FtZQ",
        ] {
            assert_eq!(token.check(&headers(header)), Ok(()), "{header}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let token = Token::new("open-sesame").expect("it is a token");
        for header in [
            "",
            "open-sesame",
            "token=open-sesam",
            "token=open-sesame2",
            "Bearer",
            "Digest open-sesame",
            "Basic !!!!",
            "Basic b3Blbi1zZXNhbWU=",
        ] {
            assert_eq!(
                token.check(&headers(header)),
                Err(Refusal::Unauthorized),
                "{header}"
            );
        }
        assert_eq!(token.check(&HeaderMap::new()), Err(Refusal::Unauthorized));
    }

    #[test]
    fn a_token_that_could_be_guessed_or_not_be_sent_is_none() {
        for text in ["", "short", "has a space in it", "ümlaut-token"] {
            assert_eq!(Token::new(text).err(), Some(TokenError), "{text}");
        }
        assert_eq!(
            format!("{:?}", Token::new("open-sesame")),
            "Ok(Token(hidden))"
        );
    }

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            authorization.parse().expect("a header's value"),
        );
        headers
    }
}
