//! Balancers and pools for the tests of this room: from JSON, as they are posted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::backend::Backend;
use super::pool::{Manner, Pool};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::config::load_balancer::{Algorithm, LoadBalancer};

/// A balancer of http with these members.
pub(super) fn balancer(members: &Value) -> Arc<LoadBalancer> {
    let mut whole = json!({ "address": "198.51.100.5", "port": 80, "protocol": "http" });
    for (name, value) in members.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let document = json!({
        "version": 1,
        "interfaces": {
            "public": { "mac": "52:54:00:00:00:02", "roles": ["public", "management"],
                        "addresses": ["198.51.100.5/24"], "gateway": "198.51.100.1" },
            "guest": { "mac": "52:54:00:00:00:03", "roles": ["guest"], "addresses": ["10.1.0.1/16"] },
        },
        "load_balancers": { "web": whole },
    });
    let config = Config::default().replace(document).unwrap();
    config.load_balancers().get("web").unwrap().clone()
}

/// A pool's JSON: backends `b0`, `b1` and so on with these weights.
pub(super) fn members(weights: &[u32]) -> Value {
    let backend = |(place, weight): (usize, &u32)| {
        let address = format!("10.1.{}.{}", 1 + place / 250, 1 + place % 250);
        (format!("b{place}"), json!({ "address": address, "port": 80, "weight": weight }))
    };
    json!({ "backends": weights.iter().enumerate().map(backend).collect::<serde_json::Map<_, _>>() })
}

/// A pool with a clock of its own.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) pool: Arc<Pool>,
    pub(super) start: Instant,
    manner: Manner,
}

impl Bench {
    pub(super) fn new(algorithm: Algorithm, pool: &Value) -> Self {
        let start = clock::moment();
        let manner = Manner { algorithm, drain: Duration::from_secs(300) };
        let config = balancer(&json!({ "pools": { "app": pool } }));
        let (id, pool) = config.default_pool().unwrap();
        let pool = Pool::new("web".parse().unwrap(), id.clone(), manner, pool, start, Timestamp::default());
        Self { pool, start, manner }
    }

    pub(super) fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    pub(super) fn edit(&self, pool: &Value, millis: u64) {
        let config = balancer(&json!({ "pools": { "app": pool } }));
        self.pool.update(
            self.manner,
            config.default_pool().unwrap().1,
            self.at(millis),
            Timestamp::default(),
        );
    }

    pub(super) fn backend(&self, id: &str) -> Arc<Backend> {
        let listed = self.pool.backends();
        let found = listed.iter().find(|listed| listed.backend.name().backend.as_str() == id);
        found.unwrap().backend.clone()
    }
}
