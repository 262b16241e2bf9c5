//! Dates in fields (RFC 9110 §5.6.7).

use http::{HeaderMap, HeaderName};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// An IMF-fixdate. The obsolete forms, which no server of this age sends, are no dates.
pub fn http_date(text: &str) -> Option<OffsetDateTime> {
    let (date, zone) = text.rsplit_once(' ')?;
    if zone != "GMT" {
        return None;
    }
    OffsetDateTime::parse(&format!("{date} +0000"), &Rfc2822).ok()
}

/// The date in the field `name`.
pub fn field(fields: &HeaderMap, name: &HeaderName) -> Option<OffsetDateTime> {
    http_date(fields.get(name)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn only_the_preferred_form_is_a_date() {
        let at = |text| http_date(text).map(|date| date.unix_timestamp());
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for text in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "soon", "0", ""] {
            assert_eq!(at(text), None, "{text}");
        }
    }
}
