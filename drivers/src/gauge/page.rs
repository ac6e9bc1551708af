//! A page with a gauge on it, and whether it is whole.

use super::{json_pointer, prometheus};
use crate::http::{PlainWire, root_cause};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode};
use teal_core::observation::Pending;

/// How long a page may be.
pub(super) const PAGE_BYTES_MAX: usize = 1024 * 1024;

const CUT_SHORT: &str =
    "the page may have been cut short: it has no length and does not end in a line feed";

/// A page.
pub(super) struct Page {
    text: String,
    /// Whether the protocol says that this is all of it. A body that ends with its connection may have lost its end.
    whole: bool,
}

impl Page {
    pub(super) fn prometheus(&self, gauge: &str) -> Pending {
        self.guard(|text| prometheus(text, gauge))
    }

    pub(super) fn json_pointer(&self, pointer: &str) -> Pending {
        let scalar = !self.text.trim_start().starts_with(['{', '[']);
        if scalar {
            self.guard(|text| json_pointer(text, pointer))
        } else {
            json_pointer(&self.text, pointer)
        }
    }

    /// A number that lost its end is another number: `0.5` becomes `0`.
    fn guard(&self, read: impl FnOnce(&str) -> Pending) -> Pending {
        if self.whole || self.text.ends_with('\n') {
            read(&self.text)
        } else {
            Pending::Unknown(CUT_SHORT.to_owned())
        }
    }
}

/// Gets a page, or says why there is none.
pub(super) async fn get(wire: &PlainWire, url: &str) -> Result<Page, String> {
    let response = match wire.request(request(url)?).await {
        Err(error) if !error.is_connect() => wire.request(request(url)?).await,
        first => first,
    };
    let response =
        response.map_err(|error| format!("{url} does not answer: {}", root_cause(&error)))?;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!(
            "{url} answered with status {}",
            head.status.as_u16()
        ));
    }
    if let Some(encoding) = head
        .headers
        .get(CONTENT_ENCODING)
        .filter(|value| *value != "identity")
    {
        return Err(format!(
            "{url} answered in the encoding {encoding:?}, which was not asked for"
        ));
    }
    let bytes = match Limited::new(body, PAGE_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(format!(
                "the page at {url} is longer than {PAGE_BYTES_MAX} bytes"
            ));
        }
        Err(error) => {
            let why = root_cause(error.as_ref());
            return Err(format!("the page at {url} was cut short: {why}"));
        }
    };
    let text = String::from_utf8(bytes.into())
        .map_err(|_| format!("the page at {url} is not text in UTF-8"))?;
    Ok(Page {
        text,
        whole: says_its_length(&head.headers),
    })
}

fn says_its_length(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

fn request(url: &str) -> Result<Request<Full<Bytes>>, String> {
    Request::get(url)
        .header(USER_AGENT, "teal")
        .header(
            ACCEPT,
            "text/plain;version=0.0.4, application/json;q=0.9, */*;q=0.1",
        )
        .body(Full::default())
        .map_err(|error| format!("{url} is not an address: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_may_have_lost_its_end_says_nothing() {
        let page = |text: &str, whole| Page {
            text: text.to_owned(),
            whole,
        };

        assert!(matches!(
            page("pending 0", false).prometheus("pending"),
            Pending::Unknown(_)
        ));
        assert_eq!(
            page("pending 0\n", false).prometheus("pending"),
            Pending::Count(0)
        );
        assert_eq!(
            page("pending 0", true).prometheus("pending"),
            Pending::Count(0)
        );
        assert!(matches!(
            page("0", false).json_pointer(""),
            Pending::Unknown(_)
        ));
        assert_eq!(page("0", true).json_pointer(""), Pending::Count(0));
        assert_eq!(
            page("{\"a\":0}", false).json_pointer("/a"),
            Pending::Count(0)
        );
    }
}
