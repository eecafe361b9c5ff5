//! Owns `map`: which name a client asks for ("map" in `docs/packet-path.md`). Never what the name leads to, nor the later
//! fate of a packet that is held back until a hello is whole.

use lb_abi::image::FRAG_NONE;
use lb_abi::maps::FlowKey;
use policy_lang::policy::Mapper;

use super::{Plan, Way};
use crate::eval::State;
use crate::packet::{Fields, Hello, Hellos, Layer4, flow_key, payload};

/// A flow that a mapper knows or waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asking {
    /// The name, and the ns of the clock at which it is forgotten.
    Named { name: String, over: u64 },
    /// What there is of the hello, and the ns of the clock at which nobody waits for it any longer.
    Waiting { hellos: Hellos, over: u64 },
}

impl Asking {
    fn is_live(&self, now: u64) -> bool {
        match self {
            Asking::Named { over, .. } | Asking::Waiting { over, .. } => now <= *over,
        }
    }
}

/// Plans that the packet's flow asks for a name, or says in words why not; exits `missing`, `invalid` and `full`.
pub fn map(
    state: &mut State,
    id: u32,
    mapper: &Mapper,
    frame: &[u8],
    fields: &Fields,
    plan: &mut Plan,
) -> (Way, String) {
    let is_udp = fields.frag == FRAG_NONE && matches!(fields.layer4, Layer4::Udp { .. });
    let Some(datagram) = payload(frame, fields).filter(|_| is_udp) else {
        return (Way::Missing, "no datagram".to_owned());
    };
    let now = state.clock;
    state.asking.retain(|_, asking| asking.is_live(now));
    let key = (id, flow_key(fields));
    let waited = match state.asking.get(&key) {
        Some(Asking::Named { name, .. }) => {
            let name = name.clone();
            return named(key, mapper, name, plan);
        }
        Some(Asking::Waiting { hellos, over }) => Some((hellos.clone(), *over)),
        None => None,
    };
    let of_it = state.asking.keys().filter(|(of, _)| *of == id).count();
    if waited.is_none() && of_it >= mapper.max as usize {
        return (Way::Full, format!("{} flows, its max", mapper.max));
    }
    let is_waited_for = waited.is_some();
    let (mut hellos, over) =
        waited.unwrap_or_else(|| (Hellos::of(mapper.protocol), now.saturating_add(nanoseconds(mapper.wait))));
    let hello = hellos.read(datagram);
    state.asking.remove(&key);
    match hello {
        Hello::Named(name) => named(key, mapper, name, plan),
        Hello::Unnamed => (Way::Missing, "a hello that asks for no name".to_owned()),
        Hello::Other if !is_waited_for => (Way::Missing, "no hello".to_owned()),
        Hello::Broken => (Way::Invalid, "a malformed hello".to_owned()),
        Hello::Other | Hello::Partial => {
            state.asking.insert(key, Asking::Waiting { hellos, over });
            (Way::Held, "the rest of the hello is still to come".to_owned())
        }
    }
}

fn named(key: (u32, FlowKey), mapper: &Mapper, name: String, plan: &mut Plan) -> (Way, String) {
    let words = format!("asks for \"{name}\"");
    plan.learned.mapped = Some((key.0, key.1, nanoseconds(mapper.idle)));
    plan.learned.sni = Some(name);
    (Way::On, words)
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Lets what a packet has learned be known for another while.
pub(super) fn commit(state: &mut State, plan: &Plan) {
    if let (Some((mapper, key, idle)), Some(name)) = (plan.learned.mapped, plan.learned.sni.clone()) {
        let over = state.clock.saturating_add(idle);
        state.asking.insert((mapper, key), Asking::Named { name, over });
    }
}

/// The same for a packet of a flow whose first one had learned it.
pub(super) fn refresh(state: &mut State, mapped: (u32, FlowKey, u64)) {
    let (mapper, key, idle) = mapped;
    let now = state.clock;
    if let Some(Asking::Named { over, .. }) = state.asking.get_mut(&(mapper, key))
        && now <= *over
    {
        *over = now.saturating_add(idle);
    }
}
