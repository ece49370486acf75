//! Cookies and parameters, as requests carry them. Pure; called by `rules.rs` and `sticky.rs`.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::COOKIE;

/// The cookies of a request with their values, in their order (RFC 6265 section 4.2). What is not text is left out.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim_matches([' ', '\t']);
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some((name.trim_matches([' ', '\t']), bare.unwrap_or(value)))
    })
}

/// The parameters of a query, decoded as forms are: a plus is a blank. What is not UTF-8 once decoded has replacements.
pub fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|octet| matches!(octet, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        let escaped = behind.get(..2).filter(|_| octet == b'%').and_then(escape);
        match escaped {
            Some(octet) => {
                out.push(octet);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => out.push(if octet == b'+' { b' ' } else { octet }),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn escape(digits: &[u8]) -> Option<u8> {
    let digit = |index: usize| digits.get(index).and_then(|octet| char::from(*octet).to_digit(16));
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cookies_are_read_from_every_line() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; b=\"two\";c=x=y;; nothing; =0"));
        headers.append(COOKIE, HeaderValue::from_bytes(b"bad=\xff").unwrap());
        headers.append(COOKIE, HeaderValue::from_static("a=3"));
        let found: Vec<_> = cookies(&headers).collect();
        assert_eq!(found, [("a", "1"), ("b", "two"), ("c", "x=y"), ("", "0"), ("a", "3")]);
    }

    #[test]
    fn parameters_are_decoded() {
        let found: Vec<_> = parameters("a=1&b=x%20y+z&&%63&d=%zz%4&e=%C3%A4&f=%ff").collect();
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        let expected = [("a", "1"), ("b", "x y z"), ("c", ""), ("d", "%zz%4"), ("e", "ä"), ("f", "\u{fffd}")];
        assert_eq!(found, expected);
    }
}
