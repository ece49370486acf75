//! One rule, compiled: what a request has to be, and where it goes. Called by `rules.rs`.

use std::borrow::Cow;
use std::cell::OnceCell;

use http::{HeaderName, HeaderValue, StatusCode};
use regex::Regex;

use super::fields::{cookies, parameters};
use super::location::Location;
use super::path;
use super::rules::Request;
use crate::config::Id;
use crate::config::balancer_rule::{Match, RuleAction, field_fits, fits};
use crate::config::http::{FieldValue, HttpPath};
use crate::config::net::AddressMatch;

/// Where a request goes.
#[derive(Debug, Clone)]
pub enum Outcome<P> {
    /// To a pool.
    Pool(P),
    /// Elsewhere: the client is told where.
    Redirect {
        /// The place.
        location: Location,
        /// The status.
        status: StatusCode,
    },
    /// Nowhere: the client is refused.
    Reject {
        /// The status.
        status: StatusCode,
        /// The text that the client sees.
        body: Option<String>,
    },
}

impl<P> Outcome<P> {
    pub(super) fn of(action: &RuleAction, pool: impl Fn(&Id) -> Option<P>) -> Option<Self> {
        if let Some(id) = &action.pool {
            return pool(id).map(Self::Pool);
        }
        if let Some(redirect) = &action.redirect {
            let location = Location::new(&redirect.location);
            return Some(Self::Redirect { location, status: redirect.status.code() });
        }
        action.reject.as_ref().map(|reject| Self::Reject {
            status: StatusCode::from_u16(reject.status).unwrap_or(StatusCode::FORBIDDEN),
            body: reject.body.clone(),
        })
    }

    /// 308, so that methods and bodies go along.
    pub(super) const fn to_https(location: Location) -> Self {
        Self::Redirect { location, status: StatusCode::PERMANENT_REDIRECT }
    }
}

/// A request whose cookies and parameters are taken apart once, and only if a rule asks for them.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    request: &'a Request<'a>,
    cookies: OnceCell<Vec<(&'a str, &'a str)>>,
    parameters: OnceCell<Vec<(Cow<'a, str>, Cow<'a, str>)>>,
}

impl<'a> Seen<'a> {
    pub(super) const fn new(request: &'a Request<'a>) -> Self {
        Self { request, cookies: OnceCell::new(), parameters: OnceCell::new() }
    }

    fn cookies(&self) -> &[(&'a str, &'a str)] {
        self.cookies.get_or_init(|| cookies(self.request.headers).collect())
    }

    fn parameters(&self) -> &[(Cow<'a, str>, Cow<'a, str>)] {
        self.parameters.get_or_init(|| parameters(self.request.query.unwrap_or_default()).collect())
    }
}

/// What a request has to be. The host is looked at before this.
#[derive(Debug)]
pub(super) struct Condition {
    paths: Vec<Wanted>,
    prefixes: Vec<Wanted>,
    pattern: Option<Regex>,
    headers: Vec<(HeaderName, FieldValue)>,
    methods: Vec<String>,
    query: Vec<(String, String)>,
    cookies: Vec<(String, String)>,
    sources: Vec<AddressMatch>,
}

/// A path as rules name it: in its normal form, and as lenient servers read it.
#[derive(Debug)]
struct Wanted {
    normal: String,
    lenient: String,
}

impl Condition {
    pub(super) fn new(wanted: &Match) -> Self {
        let path = |path: &HttpPath| {
            let (normal, lenient) = path::wanted(path.as_str());
            Wanted { normal, lenient }
        };
        let pairs = |pairs: &crate::config::keyed::Keyed<String, String>| {
            pairs.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        Self {
            paths: wanted.path.iter().map(path).collect(),
            prefixes: wanted.path_prefix.iter().map(path).collect(),
            pattern: wanted.path_regex.as_ref().map(|pattern| pattern.get().clone()),
            headers: wanted
                .headers
                .iter()
                .filter_map(|(name, value)| Some((HeaderName::try_from(name.as_str()).ok()?, value.clone())))
                .collect(),
            methods: wanted.methods.iter().map(|method| method.as_str().to_owned()).collect(),
            query: pairs(&wanted.query),
            cookies: pairs(&wanted.cookies),
            sources: wanted.sources.clone(),
        }
    }

    pub(super) const fn reads_paths(&self) -> bool {
        !self.paths.is_empty() || !self.prefixes.is_empty() || self.pattern.is_some()
    }

    /// Whether a request is what is wanted. What rejects is asked about the path as lenient servers read it too.
    pub(super) fn fits(&self, seen: &Seen<'_>, rejects: bool) -> bool {
        let request = seen.request;
        let any = |wanted: &[String], found: &str| wanted.is_empty() || wanted.iter().any(|one| one == found);
        any(&self.methods, request.method.as_str())
            && (self.sources.is_empty()
                || self.sources.iter().any(|source| source.range().contains(request.client)))
            && (self.fits_path(request.path.as_str(), |wanted| &wanted.normal)
                || (rejects
                    && request
                        .path
                        .lenient()
                        .is_some_and(|lenient| self.fits_path(lenient, |wanted| &wanted.lenient))))
            && self.headers.iter().all(|(name, wanted)| {
                let values = request.headers.get_all(name);
                values.iter().any(|value: &HeaderValue| field_fits(wanted, value.as_bytes()))
            })
            && self.cookies.iter().all(|(wanted, value)| {
                seen.cookies().iter().any(|(name, found)| name == wanted && fits(value, found))
            })
            && self.query.iter().all(|(wanted, value)| {
                seen.parameters().iter().any(|(name, found)| name == wanted && fits(value, found))
            })
    }

    fn fits_path<'a>(&'a self, path: &str, form: impl Fn(&'a Wanted) -> &'a str) -> bool {
        (self.paths.is_empty() || self.paths.iter().any(|wanted| form(wanted) == path))
            && (self.prefixes.is_empty() || self.prefixes.iter().any(|wanted| path.starts_with(form(wanted))))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(path))
    }
}
