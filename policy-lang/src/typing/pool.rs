//! Owns pools: how a backend is picked, by which way it is reached, and the backends. Never the pick itself.

use std::net::IpAddr;

use super::Typing;
use super::settings::written;
use crate::ast::{Block, Setting, Word};
use crate::names::Kind;
use crate::policy::{Backend, HealthCheck, Pick, Pool, Via};

const KNOWN: &[&str] = &["pick", "via", "source", "ports", "backend", "health"];
/// Generic UDP Encapsulation, as IANA assigned it.
const GUE_PORT: u16 = 6_080;
/// Largest slot table.
const SLOTS: u32 = 1 << 22;

impl Typing<'_> {
    pub(super) fn type_pools(&mut self) {
        for (name, block) in &self.declared.pools {
            let pool = self.pool(name, block);
            self.pools.push(pool);
        }
    }

    fn pool(&mut self, name: &Word, block: &Block) -> Pool {
        let owner = format!("pool `{}`", name.text);
        let before = self.report.errors();
        let mut pool = Pool {
            name: name.text.clone(),
            span: name.span,
            pick: Pick::RoundRobin,
            via: Via::Nat,
            sources_v4: Vec::new(),
            sources_v6: Vec::new(),
            ports: None,
            backends: Vec::new(),
            health: None,
        };
        let mut pick = None;
        for setting in self.settings(block, &owner, KNOWN, &["backend"]) {
            match setting.name.text.as_str() {
                "pick" => {
                    pick = self.pick(setting);
                    pool.pick = pick.unwrap_or(pool.pick);
                }
                "via" => pool.via = self.via(setting).unwrap_or(pool.via),
                "source" => {
                    for word in self.word_list(setting).unwrap_or_default() {
                        for (_, address) in self.literal_addresses(word) {
                            match address {
                                IpAddr::V4(address) => pool.sources_v4.push(address),
                                IpAddr::V6(address) => pool.sources_v6.push(address),
                            }
                        }
                    }
                }
                "ports" => {
                    if let Some(word) = self.one_word(setting) {
                        match self.port_range(word) {
                            Some((0, _)) => {
                                self.report.error("E0302", word.span, "port 0 is no source port");
                            }
                            range => pool.ports = range,
                        }
                    }
                }
                "backend" => self.backend(&mut pool, setting),
                _ => pool.health = self.health(setting),
            }
        }
        let written = |name: &str| written(block, name);
        if !written("pick") {
            let why = "the pool does not say which backend a new flow is given to";
            let form = "`pick round-robin`, `pick random`, `pick source` or `pick maglev 65_537 by flow`";
            self.missing(name, "pool", "pick", why, form);
        }
        if !written("via") {
            self.missing(
                name,
                "pool",
                "via",
                "the pool does not say how its backends are reached",
                "`via nat`, `via l2dsr`, `via ipip` or `via gue`",
            );
        }
        let (source, ports) = (written("source"), written("ports"));
        if pool.via == Via::Nat && source && !ports {
            let why = "behind one source address, flows are told apart by their source port";
            self.missing(name, "pool", "ports", why, "`ports 10000-60000`");
        }
        if pool.via == Via::Nat && ports && !source {
            self.report
                .error("E0308", name.span, format!("{owner} has `ports` but no `source`"))
                .because("without a source address of the balancer's own, the client's address and port stay")
                .help("add `source ADDRESS`, or remove `ports`");
        }
        // A pool with a mistake in it may have lost a backend or a source by that alone.
        if self.report.errors() == before {
            self.pool_rules(name, &pool, pick);
            if pool.via != Via::Nat {
                self.not_rewritten(&pool, block);
            }
            self.health_port(&pool);
        }
        pool
    }

    /// Rules 5, 8 and 9 as far as the pool alone decides them.
    fn pool_rules(&mut self, name: &Word, pool: &Pool, pick: Option<Pick>) {
        let usable = pool.backends.iter().filter(|backend| !backend.drain && backend.weight > 0);
        let (v4, v6) = (
            usable.clone().filter(|backend| backend.v4.is_some()).count(),
            usable.clone().filter(|backend| backend.v6.is_some()).count(),
        );
        let count = usable.count();
        if count == 0 {
            self.report
                .error("E0407", name.span, format!("pool `{}` has no usable backend", pool.name))
                .because("a backend that drains or has weight 0 takes no new flow")
                .help("add `backend NAME ADDRESS:PORT`");
        }
        if let Some(Pick::Maglev { slots, .. }) = pick {
            let needed = 100 * count as u64;
            if !is_prime(slots) {
                self.report
                    .error("E0408", name.span, format!("{slots} slots: a Maglev size has to be prime"))
                    .because("only a prime size lets every backend visit every slot")
                    .help(format!("write {}", next_prime(u64::from(slots).max(needed))));
            } else if u64::from(slots) < needed {
                self.report
                    .error(
                        "E0409",
                        name.span,
                        format!(
                            "{slots} slots are too few for {count} backend{}",
                            if count == 1 { "" } else { "s" }
                        ),
                    )
                    .because("with fewer than 100 slots a backend, the shares differ by more than 1 %")
                    .help(format!("write {}", next_prime(needed)));
            }
        }
        if pool.via != Via::Nat {
            return;
        }
        let sourced = !(pool.sources_v4.is_empty() && pool.sources_v6.is_empty());
        if !sourced {
            self.report
                .warning("W0402", name.span, format!("pool `{}` has no `source`", pool.name))
                .because("the backends see the client's address, and send their replies to it")
                .help("let the backends' route to the clients lead through the balancer, or add `source` and `ports`");
        }
        for (backends, sources, family) in
            [(v4, pool.sources_v4.len(), "IPv4"), (v6, pool.sources_v6.len(), "IPv6")]
        {
            if sourced && backends > 0 && sources == 0 {
                self.report
                    .error(
                        "E0312",
                        name.span,
                        format!("pool `{}` has {family} backends and no {family} source", pool.name),
                    )
                    .because("a translated packet needs a source address of its backend's family")
                    .help(format!("add an {family} address to `source`"));
            }
            if sourced && count > 0 && backends == 0 && sources > 0 {
                self.report
                    .warning(
                        "W0408",
                        name.span,
                        format!("pool `{}` has an {family} source and no {family} backend", pool.name),
                    )
                    .help("remove that source, or give a backend an address of that family");
            }
        }
    }

    /// Rule 8: what direct server return sends is the client's packet, to the last byte of its headers.
    fn not_rewritten(&mut self, pool: &Pool, block: &Block) {
        let way = match pool.via {
            Via::Nat => "nat",
            Via::L2dsr => "l2dsr",
            Via::Ipip => "ipip",
            Via::Gue { .. } => "gue",
        };
        let why = "the backend gets the client's packet as it came, and answers the client itself";
        let settings =
            block.settings.iter().filter(|setting| ["source", "ports"].contains(&&*setting.name.text));
        for setting in settings {
            let what = &setting.name.text;
            self.report
                .error("E0422", setting.span, format!("`{what}` has no meaning with `via {way}`"))
                .because(why)
                .help(format!("remove `{what}`, or reach the backends by `via nat`"));
        }
        let rewritten = |backend: &&Backend| {
            backend.v4.is_some_and(|(_, port)| port != 0) || backend.v6.is_some_and(|(_, port)| port != 0)
        };
        for backend in pool.backends.iter().filter(rewritten) {
            self.report
                .error("E0422", backend.span, format!("a port cannot be rewritten with `via {way}`"))
                .because(why)
                .help("leave out the port, or reach the backends by `via nat`");
        }
    }

    /// A check of a port needs one.
    fn health_port(&mut self, pool: &Pool) {
        let Some(health) = &pool.health else { return };
        if health.check == HealthCheck::Icmp || health.port.is_some() {
            return;
        }
        let bare = pool.backends.iter().find(|backend| {
            backend.v4.is_some_and(|(_, port)| port == 0) || backend.v6.is_some_and(|(_, port)| port == 0)
        });
        if let Some(backend) = bare {
            self.report
                .error("E0308", health.span, "the health check has no `port`")
                .also(backend.span, format!("`{}` has none either", backend.name))
                .because("a backend without a port takes packets to any, and a check goes to one")
                .help("add `port 8080` to the check");
        }
    }

    fn pick(&mut self, setting: &Setting) -> Option<Pick> {
        const FORM: &str = "`pick round-robin`, `pick random`, `pick source`, `pick maglev 65_537 by flow`, \
                            `pick least-connections` or `pick hash by cert`";
        let words = self.one_group(setting, FORM)?;
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match text.as_slice() {
            // Turns are taken by weight either way.
            ["round-robin" | "weighted"] => return Some(Pick::RoundRobin),
            ["random"] => return Some(Pick::Random),
            ["source"] => return Some(Pick::Source),
            ["least-connections"] => return Some(Pick::LeastConnections),
            ["hash", "by", "cert"] => return Some(Pick::Certificate),
            ["maglev", _, "by", key @ ("flow" | "src")] => {
                let slots = self.count_in(words.get(1)?, 2, SLOTS)?;
                return Some(Pick::Maglev { slots, by_flow: *key == "flow" });
            }
            _ => {}
        }
        const WORDS: [&str; 7] =
            ["round-robin", "weighted", "random", "source", "maglev", "least-connections", "hash"];
        let near = text.first().and_then(|word| crate::report::nearest(word, WORDS));
        match near {
            Some(near) if text.first() != Some(&near) => {
                let message = format!("`{}` is no way to pick a backend", text.join(" "));
                self.report.error("E0310", setting.span, message).help(format!("did you mean `{near}`?"));
            }
            _ => self.shape(setting, FORM),
        }
        None
    }

    /// `via nat`, `via l2dsr`, `via ipip` or `via gue [port N]`.
    fn via(&mut self, setting: &Setting) -> Option<Via> {
        const FORM: &str = "`via nat`, `via l2dsr`, `via ipip` or `via gue port 6080`";
        let words = self.one_group(setting, FORM)?;
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match (text.as_slice(), words) {
            (["nat"], _) => return Some(Via::Nat),
            (["l2dsr"], _) => return Some(Via::L2dsr),
            (["ipip"], _) => return Some(Via::Ipip),
            (["gue"], _) => return Some(Via::Gue { port: GUE_PORT }),
            (["gue", "port", _], [.., port]) => {
                let port = self.count_in(port, 1, 65_535)?;
                return u16::try_from(port).ok().map(|port| Via::Gue { port });
            }
            ([other], [word]) => {
                self.report
                    .error("E0310", word.span, format!("`{other}` is no way to reach a backend"))
                    .help(crate::report::suggestion(other, ["nat", "ipip", "gue", "l2dsr"]));
            }
            _ => self.shape(setting, FORM),
        }
        None
    }

    /// Whether a pool by this name is declared.
    pub(super) fn pool_named(&mut self, name: &str) -> Option<u32> {
        self.names.look_up(name).filter(|symbol| symbol.kind == Kind::Pool).map(|symbol| symbol.index)
    }
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|&divisor: &u32| u64::from(divisor).pow(2) <= u64::from(number))
            .all(|divisor| !number.is_multiple_of(divisor))
}

fn next_prime(from: u64) -> u64 {
    (from..).find(|&number| u32::try_from(number).is_ok_and(is_prime)).unwrap_or(65_537)
}
