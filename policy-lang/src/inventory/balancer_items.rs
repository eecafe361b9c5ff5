//! Owns the step from what a certificate balancer's file says to items of the language. Never the types of those items,
//! and never what is done with packets.

use super::balancer::{Algorithm, Backend, Balancer, Certificate, Key};
use super::fields::Placed;
use super::items::{declaration, one, setting, word};
use crate::ast::{Item, Setting};
use crate::source::Span;
use crate::value::date;
use crate::value::quantity::grouped;

/// What the items are called, unless the file has a name for its pool.
pub(super) const POOL: &str = "backends";
pub(super) const AUTHORITY: &str = "certificates";
pub(super) const TRACK: &str = "sessions";

/// Sessions at once.
const SESSIONS: &str = "4_096";

/// What an inventory brings: the pool, the authority if there are certificates, and the tracker if there is a
/// `[load_balancer]`.
pub(super) fn included(balancer: &Balancer) -> Vec<Item> {
    let mut items: Vec<Item> = authority(balancer, None).into_iter().collect();
    items.extend(balancer.header.map(|_| track(balancer)));
    items.push(pool(balancer));
    items
}

/// What the balancer's policy is made of; days of validity count from `start`, in seconds since 1970.
pub(super) fn complete(balancer: &Balancer, start: i64) -> Vec<Item> {
    if !balancer.enabled.value {
        return Vec::new();
    }
    let mut items: Vec<Item> =
        authority(balancer, Some(start)).filter(|_| balancer.certified()).into_iter().collect();
    items.extend([track(balancer), pool(balancer)]);
    items
}

impl Balancer {
    pub fn pool_name(&self) -> String {
        self.name.as_ref().map_or_else(|| POOL.to_owned(), |name| name.value.clone())
    }

    pub fn authority_name(&self) -> String {
        self.own(AUTHORITY)
    }

    pub fn track_name(&self) -> String {
        self.own(TRACK)
    }

    fn own(&self, word: &str) -> String {
        self.name.as_ref().map_or_else(|| word.to_owned(), |name| format!("{}_{word}", name.value))
    }

    /// Whether sessions are those of certificates, and not of addresses and ports.
    pub fn certified(&self) -> bool {
        self.require_certificates.value && !self.certificates.is_empty()
    }

    fn name_span(&self, otherwise: Span) -> Span {
        self.name.as_ref().map_or(otherwise, |name| name.span)
    }
}

/// `start`, in seconds since 1970, is what days of validity count from; None: they do not count.
fn authority(balancer: &Balancer, start: Option<i64>) -> Option<Item> {
    let first = balancer.certificates.first()?;
    let settings = balancer.certificates.iter().map(|one| certificate(one, start)).collect();
    let name = word(&balancer.authority_name(), balancer.name_span(first.span));
    Some(declaration("authority", name, settings))
}

/// `key 3 04… until 2027-01-31`, or `key 3 generate`.
fn certificate(certificate: &Certificate, start: Option<i64>) -> Setting {
    let mut words = vec![word(&certificate.id.value.to_string(), certificate.id.span)];
    match &certificate.key.value {
        Key::Public(digits) => words.push(word(digits, certificate.key.span)),
        Key::Generated => words.push(word("generate", certificate.key.span)),
    }
    let end = |days: Placed<u64>| {
        let seconds = i64::try_from(days.value).ok()?.checked_mul(86_400)?.checked_add(start?)?;
        Some([word("until", days.span), word(&date::day(seconds)?, days.span)])
    };
    words.extend(certificate.days.and_then(end).into_iter().flatten());
    setting("key", certificate.span, vec![words])
}

fn track(balancer: &Balancer) -> Item {
    let header = balancer.header.unwrap_or(balancer.timeout.span);
    let mut settings = Vec::new();
    if balancer.certified() {
        settings.push(setting(
            "key",
            balancer.require_certificates.span,
            vec![vec![word("cert", balancer.require_certificates.span)]],
        ));
    }
    let idle = word(&format!("{}s", balancer.timeout.value), balancer.timeout.span);
    settings.push(setting("idle", balancer.timeout.span, vec![vec![idle]]));
    settings.push(setting("max", header, vec![vec![word(SESSIONS, header)]]));
    declaration("track", word(&balancer.track_name(), balancer.name_span(header)), settings)
}

fn pool(balancer: &Balancer) -> Item {
    let place = balancer.backends.first().map_or(balancer.algorithm.span, |backend| backend.span);
    let Placed { value, span } = balancer.algorithm;
    let pick = match value {
        Algorithm::RoundRobin | Algorithm::Weighted => "round-robin",
        Algorithm::LeastConnections => "least-connections",
    };
    let mut settings = vec![one("pick", pick, span), one("via", "nat", place)];
    if let Some((first, ports)) = balancer.sources.first().zip(balancer.ports) {
        let each = balancer.sources.iter().map(|source| vec![word(&source.value.to_string(), source.span)]);
        settings.push(setting("source", first.span, each.collect()));
        let range = format!("{}-{}", ports.value.0, ports.value.1);
        settings.push(one("ports", &range, ports.span));
    }
    settings.extend(balancer.backends.iter().map(|one| backend(one, balancer.weighs())));
    declaration("pool", word(&balancer.pool_name(), balancer.name_span(place)), settings)
}

/// `backend b3 192.0.2.1:8080 weight 50 max_conn 500 drain`.
fn backend(backend: &Backend, weighs: bool) -> Setting {
    let address = std::net::SocketAddr::new(backend.address.value, backend.port.value as u16).to_string();
    let mut words =
        vec![word(&format!("b{}", backend.id.value), backend.id.span), word(&address, backend.address.span)];
    if weighs {
        words.push(word("weight", backend.weight.span));
        words.push(word(&backend.weight.value.to_string(), backend.weight.span));
    }
    if let Some(most) = backend.max_connections {
        words.push(word("max_conn", most.span));
        words.push(word(&grouped(most.value), most.span));
    }
    if !backend.enabled.value {
        words.push(word("drain", backend.enabled.span));
    }
    setting("backend", backend.span, vec![words])
}
