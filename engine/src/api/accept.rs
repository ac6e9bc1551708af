//! What a client takes: the `Accept` header (RFC 9110, §12.5.1).

use hyper::header::{ACCEPT, HeaderMap};

/// What a client takes, best first. Nothing said means anything.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Accept(Vec<Range>);

/// One media range, such as `text/*`.
#[derive(Debug, Clone, PartialEq)]
struct Range {
    kind: String,
    subtype: String,
    weight: f32,
}

impl Accept {
    /// Reads the header of a request. What is no media range is left away.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        let mut ranges: Vec<Range> = texts
            .flat_map(|text| text.split(','))
            .filter_map(parse_range)
            .collect();
        ranges.sort_by(|left, right| right.weight.total_cmp(&left.weight));
        Self(ranges)
    }

    /// Returns whether the client takes a media type.
    pub(super) fn takes(&self, kind: &str, subtype: &str) -> bool {
        let fits = |range: &Range| range.fits(kind, subtype);
        self.0.is_empty() || self.0.iter().any(fits)
    }

    /// Returns whether the client names a media type, and does not merely take anything.
    pub(super) fn names(&self, kind: &str, subtype: &str) -> bool {
        let same = |range: &Range| range.kind == kind && range.subtype == subtype;
        self.0.iter().any(same)
    }

    /// Returns the one of these media types that the client likes best; of equals the first.
    pub(super) fn choose<'a>(&self, offers: &[(&'a str, &'a str)]) -> Option<(&'a str, &'a str)> {
        if self.0.is_empty() {
            return offers.first().copied();
        }
        let fitting = |range: &Range| {
            let mut offers = offers.iter();
            offers.find(|(kind, subtype)| range.fits(kind, subtype))
        };
        self.0.iter().find_map(fitting).copied()
    }
}

impl Range {
    fn fits(&self, kind: &str, subtype: &str) -> bool {
        (self.kind == "*" || self.kind == kind) && (self.subtype == "*" || self.subtype == subtype)
    }
}

fn parse_range(text: &str) -> Option<Range> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let mut weights = parts.filter_map(|parameter| parameter.strip_prefix("q="));
    let weight: f32 = weights
        .next()
        .map_or(Some(1.0), |weight| weight.parse().ok())?;
    (weight > 0.0).then(|| Range {
        kind: kind.to_ascii_lowercase(),
        subtype: subtype.to_ascii_lowercase(),
        weight,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_type_is_chosen() {
        let offers = [("text", "plain"), ("text", "html"), ("application", "json")];
        let cases = [
            ("application/json", Some("json")),
            ("*/*", Some("plain")),
            ("text/*", Some("plain")),
            ("text/html, application/json;q=0.5", Some("html")),
            ("text/html;q=0.1, application/json", Some("json")),
            ("text/plain;q=0, application/*", Some("json")),
            ("image/png", None),
        ];
        for (header, chosen) in cases {
            let chose = accept(header).choose(&offers);
            assert_eq!(chose.map(|(_, subtype)| subtype), chosen, "{header}");
        }
        assert_eq!(Accept(Vec::new()).choose(&offers), Some(("text", "plain")));
    }

    #[test]
    fn taking_anything_is_not_naming_it() {
        assert!(accept("*/*").takes("text", "event-stream"));
        assert!(!accept("*/*").names("text", "event-stream"));
        assert!(accept("text/event-stream, */*;q=0.1").names("text", "event-stream"));
        assert!(!accept("text/plain").takes("application", "json"));
    }

    fn accept(header: &str) -> Accept {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().expect("a header's value"));
        Accept::read(&headers)
    }
}
