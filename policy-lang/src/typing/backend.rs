//! Owns backends: their addresses, ports, weights and caps. Never the pool's rules about them.

use std::net::IpAddr;

use super::Typing;
use crate::ast::{Setting, Word};
use crate::policy::{Backend, Pool};
use crate::value::addr;

impl Typing<'_> {
    /// `backend NAME ADDRESS[:PORT], … [weight N] [drain] [max_conn N]`.
    pub(super) fn backend(&mut self, pool: &mut Pool, setting: &Setting) {
        const FORM: &str = "`backend NAME ADDRESS[:PORT], ADDRESS[:PORT] weight 1 drain`";
        let Some((name, _)) = setting.groups.first().and_then(|group| group.split_first()) else {
            return self.shape(setting, FORM);
        };
        if addr::looks_like(&name.text) || name.quoted {
            return self.shape(setting, FORM);
        }
        if let Some(twin) = pool.backends.iter().find(|backend| backend.name == name.text) {
            self.report
                .error("E0202", name.span, format!("backend `{}` is declared twice", name.text))
                .also(twin.span, "declared first");
            return;
        }
        if let Some(symbol) = self.names.look_up(&name.text) {
            let kind = symbol.kind.noun();
            self.report
                .error("E0202", name.span, format!("`{}` is the name of {kind} already", name.text))
                .also(symbol.span, "declared here")
                .help("rename one of the two");
            return;
        }
        let mut backend = Backend {
            name: name.text.clone(),
            span: name.span,
            v4: None,
            v6: None,
            weight: 1,
            drain: false,
            max_conn: None,
        };
        let last = setting.groups.len() - 1;
        for (position, group) in setting.groups.iter().enumerate() {
            let mut words = group.iter().skip(usize::from(position == 0));
            let Some(address) = words.next() else { return self.shape(setting, FORM) };
            self.backend_address(&mut backend, address);
            let options: Vec<&Word> = words.collect();
            if position < last && !options.is_empty() {
                return self.shape(setting, FORM);
            }
            self.backend_options(&mut backend, setting, &options);
        }
        pool.backends.push(backend);
    }

    fn backend_address(&mut self, backend: &mut Backend, word: &Word) {
        let (host, port) = match addr::host_port(&word.text) {
            Ok(parts) => parts,
            Err(fault) => return self.fault(word, fault),
        };
        let host = Word { text: host.to_owned(), ..word.clone() };
        for (_, address) in self.literal_addresses(&host) {
            let port = port.unwrap_or(0);
            let taken = match address {
                IpAddr::V4(address) => backend.v4.replace((address, port)).is_some(),
                IpAddr::V6(address) => backend.v6.replace((address, port)).is_some(),
            };
            if taken {
                self.report
                    .error(
                        "E0312",
                        word.span,
                        format!("backend `{}` has two addresses of one family", backend.name),
                    )
                    .help("declare a second backend");
            }
        }
    }

    fn backend_options(&mut self, backend: &mut Backend, setting: &Setting, options: &[&Word]) {
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match option.text.as_str() {
                "drain" => backend.drain = true,
                "weight" => {
                    let Some(word) = options.next() else { return self.shape(setting, "`weight 3`") };
                    backend.weight = self.count_in(word, 0, 1_000).unwrap_or(backend.weight);
                }
                "max_conn" => {
                    let Some(word) = options.next() else { return self.shape(setting, "`max_conn 1_000`") };
                    backend.max_conn = self.count_in(word, 1, 1 << 26);
                }
                other => {
                    let message = format!("backend `{}` has no option `{other}`", backend.name);
                    let cure = crate::report::suggestion(other, ["weight", "drain", "max_conn"]);
                    self.report.error("E0210", option.span, message).help(cure);
                    return;
                }
            }
        }
    }

    /// A pool and index of the backend with this name; several pools may have one.
    pub(super) fn backends_named(&self, name: &str) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for (pool, at) in self.pools.iter().zip(0..) {
            let index = pool.backends.iter().position(|backend| backend.name == name);
            found.extend(index.map(|index| (at, index as u32)));
        }
        found
    }
}
