//! The parameters of a listener, `key::value` each.
//!
//! Two are known and say nothing here: `Nbprocess`, how many processes share the work, and `httpMode`, how connections to
//! servers are kept. What is not known is not read.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Refusal;
use super::body::set;

/// The cookie that the management node's own appliance sets.
const COOKIE: &str = "zstack_cookie";

/// Parameters by their key.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    values: BTreeMap<String, &'a str>,
    weights: BTreeMap<&'a str, &'a str>,
}

impl<'a> Parameters<'a> {
    pub(super) fn read(texts: &[&'a str]) -> Result<Self, Refusal> {
        let mut parameters = Self { values: BTreeMap::new(), weights: BTreeMap::new() };
        for text in texts {
            let (key, value) = text
                .split_once("::")
                .ok_or_else(|| Refusal::Invalid(format!("`{text}` is not a parameter: it has no `::`")))?;
            let (key, value) = (key.to_ascii_lowercase(), value.trim());
            if key == "balancerweight" {
                let (ip, weight) = value
                    .split_once("::")
                    .ok_or_else(|| Refusal::Invalid(format!("`{text}` is not the weight of a server")))?;
                parameters.weights.insert(ip, weight);
            } else {
                parameters.values.insert(key, value);
            }
        }
        Ok(parameters)
    }

    /// The value of a key, unless it is empty.
    fn text(&self, key: &str) -> Option<&'a str> {
        self.values.get(&key.to_ascii_lowercase()).copied().filter(|value| !value.is_empty())
    }

    fn number(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Refusal::Invalid(format!("`{key}` is not a number: `{text}`")))
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.text(key).is_some_and(|text| text.eq_ignore_ascii_case(value))
    }

    fn algorithm(&self) -> &'a str {
        self.text("balancerAlgorithm").unwrap_or("roundrobin")
    }

    /// What a server's weight is; only the weighted algorithm asks for it.
    pub(super) fn weight(&self, ip: &str, said: Option<u64>) -> Option<u64> {
        let weighted =
            matches!(self.algorithm().to_ascii_lowercase().as_str(), "weightroundrobin" | "static-rr");
        let said = said.or_else(|| self.weights.get(ip)?.parse().ok());
        said.filter(|_| weighted)
    }

    /// States everything but pools, rules and TLS.
    pub(super) fn state(&self, mode: &str, balancer: &mut Map<String, Value>) -> Result<(), Refusal> {
        let is_http = matches!(mode, "http" | "https");
        let algorithm = match self.algorithm().to_ascii_lowercase().as_str() {
            "roundrobin" | "weightroundrobin" | "static-rr" => "round_robin",
            "leastconn" => "least_connections",
            "source" => "source",
            "random" => "random",
            other => return Err(Refusal::Unsupported(format!("the algorithm `{other}`"))),
        };
        balancer.insert("algorithm".to_owned(), algorithm.into());
        if let Some(most) = self.number("maxConnection")?.filter(|most| *most > 0) {
            balancer.insert("max_connections".to_owned(), most.into());
        }
        if let Some(seconds) = self.number("connectionIdleTimeout")?.filter(|seconds| *seconds > 0) {
            let ms = seconds.saturating_mul(1000);
            let mut timeouts = json!({ "client_idle_ms": ms, "server_idle_ms": ms });
            if is_http {
                set(&mut timeouts, "server_response_ms", ms);
                set(&mut timeouts, "tunnel_idle_ms", ms);
            }
            balancer.insert("timeouts".to_owned(), timeouts);
        }
        if is_http && let Some(stickiness) = self.stickiness()? {
            balancer.insert("stickiness".to_owned(), stickiness);
        }
        match self.text("tcpProxyProtocol").filter(|text| !text.eq_ignore_ascii_case("disable")) {
            None => {}
            Some(version) if matches!(version, "v1" | "v2") => {
                balancer.insert("proxy_protocol".to_owned(), version.into());
            }
            Some(other) => return Err(Refusal::Unsupported(format!("the PROXY protocol `{other}`"))),
        }
        if let Some(other) =
            self.text("httpCompressAlgos").filter(|text| !text.eq_ignore_ascii_case("disable"))
        {
            return Err(Refusal::Unsupported(format!(
                "httpCompressAlgos `{other}`: answers are not compressed"
            )));
        }
        self.access(balancer)
    }

    fn stickiness(&self) -> Result<Option<Value>, Refusal> {
        let kind = self.text("sessionPersistence").unwrap_or("disable").to_ascii_lowercase();
        Ok(Some(match kind.as_str() {
            "disable" | "none" => return Ok(None),
            "insert" => {
                let mut stickiness = json!({ "type": "cookie", "cookie_name": COOKIE });
                if let Some(seconds) = self.number("sessionIdleTimeout")?.filter(|seconds| *seconds > 0) {
                    set(&mut stickiness, "seconds", seconds);
                }
                stickiness
            }
            "rewrite" => {
                let name = self.text("cookieName");
                let name = name.ok_or_else(|| Refusal::Invalid("`cookieName` is missing".to_owned()))?;
                json!({ "type": "app_cookie", "cookie_name": name })
            }
            other => return Err(Refusal::Unsupported(format!("the session persistence `{other}`"))),
        }))
    }

    /// Who may use it; a list without entries says nothing.
    fn access(&self, balancer: &mut Map<String, Value>) -> Result<(), Refusal> {
        let entries: Vec<&str> = self
            .text("aclEntry")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .collect();
        if !self.is("accessControlStatus", "enable") || entries.is_empty() {
            return Ok(());
        }
        let member = match self.text("aclType").unwrap_or("black").to_ascii_lowercase().as_str() {
            "black" => "denied_sources",
            "white" => "allowed_sources",
            other => return Err(Refusal::Invalid(format!("`{other}` is not one of black, white"))),
        };
        balancer.insert(member.to_owned(), entries.into());
        Ok(())
    }

    /// How servers are asked whether they are well.
    pub(super) fn health_check(&self, mode: &str, instance_port: u64) -> Result<Option<Value>, Refusal> {
        let usual = if mode == "udp" { "udp:default" } else { "tcp:default" };
        let target = self.text("healthCheckTarget").unwrap_or(usual);
        let (kind, port) = target.split_once(':').unwrap_or((target, "default"));
        let kind = kind.to_ascii_lowercase();
        if kind == "none" {
            return Ok(None);
        }
        if !matches!(kind.as_str(), "tcp" | "udp" | "http") {
            return Err(Refusal::Unsupported(format!("the health check `{target}`")));
        }
        let mut check = Map::new();
        check.insert("type".to_owned(), kind.as_str().into());
        if !port.eq_ignore_ascii_case("default") {
            let wrong = |_| Refusal::Invalid(format!("`{target}` has no port"));
            let port = u64::from(port.parse::<u16>().map_err(wrong)?);
            if port != instance_port {
                check.insert("port".to_owned(), port.into());
            }
        }
        let numbers = [
            ("healthCheckInterval", "interval_seconds", 5),
            ("healthCheckTimeout", "timeout_seconds", 2),
            ("healthyThreshold", "healthy_threshold", 2),
            ("unhealthyThreshold", "unhealthy_threshold", 6),
        ];
        for (key, member, usual) in numbers {
            check.insert(member.to_owned(), self.number(key)?.unwrap_or(usual).into());
        }
        if kind == "http" {
            self.request(&mut check)?;
        }
        Ok(Some(Value::Object(check)))
    }

    /// What an http check asks and expects: `GET:/uri:http_2xx,http_3xx`. As its appliance has it, `http_2xx` alone is
    /// content with a redirect too.
    fn request(&self, check: &mut Map<String, Value>) -> Result<(), Refusal> {
        let Some(text) = self.text("healthCheckParameter") else { return Ok(()) };
        let wrong = || Refusal::Invalid(format!("`{text}` is not a method, a path and statuses"));
        let (method, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (path, expected) = rest.rsplit_once(':').ok_or_else(wrong)?;
        check.insert("method".to_owned(), method.to_ascii_uppercase().into());
        check.insert("path".to_owned(), path.into());
        let mut statuses: Vec<&str> = Vec::new();
        for class in expected.split(',') {
            statuses.push(match class.trim() {
                "http_2xx" => "200-299",
                "http_3xx" => "300-399",
                "http_4xx" => "400-499",
                "http_5xx" => "500-599",
                _ => return Err(wrong()),
            });
        }
        if statuses != ["200-299"] {
            check.insert("expected_status".to_owned(), statuses.into());
        }
        Ok(())
    }

    /// Where a listener of plain HTTP sends everybody, if it does.
    pub(super) fn redirect_to_https(&self, mode: &str) -> Result<Option<Value>, Refusal> {
        if mode != "http" || !self.is("httpRedirectHttps", "enable") {
            return Ok(None);
        }
        let port = match self.number("redirectPort")? {
            None | Some(443) => String::new(),
            Some(port) => format!(":{port}"),
        };
        let status = self.number("statusCode")?.unwrap_or(302);
        Ok(Some(json!({ "location": format!("https://{{host}}{port}{{path}}?{{query}}"), "status": status })))
    }

    /// What HTTPS offers.
    pub(super) fn alpn(&self) -> Result<Vec<&'static str>, Refusal> {
        let Some(text) = self.text("httpVersions") else { return Ok(vec!["http/1.1"]) };
        let mut offered = Vec::new();
        for version in text.split(',').map(str::trim).filter(|version| !version.is_empty()) {
            offered.push(match version.to_ascii_lowercase().as_str() {
                "h2" => "h2",
                "http1.1" | "http/1.1" => "http/1.1",
                _ => return Err(Refusal::Unsupported(format!("the version of HTTP `{version}`"))),
            });
        }
        Ok(offered)
    }
}
