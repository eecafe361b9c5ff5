//! Owns ending the sessions and flows of certificates that `verify` no longer lets in, whose backends would be heard for
//! ever: those outside of their validity, and revoked ones. Never judges a packet: the data path does, by the same clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lb_abi::maps::{CERTIFICATE_ABSENT, CERTIFICATE_REVOKED};

use crate::error::Error;
use crate::plane::Plane;
use crate::sessions;
use crate::sys::process;

/// A packet that came before the end, and whose signature was checked after it, may have begun a session: what waited
/// for so long is dropped (`slow`), and a second is left for the rest of its way.
const LATE: Duration = Duration::from_secs(3);

/// The certificates that have lapsed, by number: when what they have is ended once more, `None` after that.
#[derive(Debug, Default)]
pub(crate) struct Lapsed(BTreeMap<u32, Option<Instant>>);

impl Lapsed {
    /// Ends what certificates have that have lapsed since it was last asked, or `LATE` ago. One that is valid again (the
    /// clock was set back, or the policy is another) may lapse again.
    pub(crate) fn end(&mut self, plane: &Plane, now: Instant) -> Result<(), Error> {
        let clock = process::coarse_clock().map_err(|e| Error::kernel("read the clock", e))?;
        let wall = clock.cast_signed().wrapping_add(plane.control().wall);
        let certificates = (0..).map_while(|number| Some((number, plane.certificate(number)?)));
        let mut due = Vec::new();
        for (number, certificate) in certificates {
            let revoked = certificate.state == CERTIFICATE_REVOKED;
            let valid = (certificate.not_before..=certificate.not_after).contains(&wall);
            if certificate.state == CERTIFICATE_ABSENT || valid && !revoked {
                self.0.remove(&number);
                continue;
            }
            match self.0.get(&number) {
                None => {
                    self.0.insert(number, Some(now + LATE));
                    // Who revokes ends them at once, and says how many there were.
                    if !revoked {
                        due.push(number);
                    }
                }
                Some(Some(again)) if *again <= now => {
                    self.0.insert(number, None);
                    due.push(number);
                }
                Some(_) => {}
            }
        }
        if !due.is_empty() {
            sessions::forget(plane, &due)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lb_abi::maps::{CERTIFICATE_ACTIVE, Certificate, Flow, Session, SessionKey};

    use super::*;
    use crate::ageing::tests::{insert, plane};
    use crate::state::Which;
    use crate::sys::bpf;

    const SECOND: i64 = 1_000_000_000;

    /// Gives certificate 0 a session with one flow.
    fn begin(plane: &Plane) {
        let key = SessionKey { tracker: 0, cert: 0, pool: 0 };
        bpf::update(plane.maps.fd(Which::Sessions), &key, &Session::default(), bpf::ANY).unwrap();
        let map = plane.maps.fd(Which::FlowsNew);
        for key in insert(plane, Which::FlowsNew, 1, 1, 1) {
            let flow = bpf::lookup::<_, Flow>(map, &key).unwrap().unwrap();
            bpf::update(map, &key, &Flow { cert: 1, ..flow }, bpf::ANY).unwrap();
        }
    }

    /// How many sessions and flows certificate 0 had, which are gone now.
    fn had(plane: &Plane) -> (u64, u64) {
        sessions::forget(plane, &[0]).unwrap()
    }

    /// Ends at `now` what certificate 0 has, which is given something before; what is left.
    fn left(lapsed: &mut Lapsed, plane: &Plane, now: Instant) -> (u64, u64) {
        begin(plane);
        lapsed.end(plane, now).unwrap();
        had(plane)
    }

    #[test]
    fn what_a_certificate_has_ends_with_it_and_what_was_on_its_way_a_little_later() {
        let plane = plane();
        let valid = |state, until| Certificate { state, not_after: until, ..Certificate::default() };
        let at = |wall: i64| plane.set_wall(wall - process::coarse_clock().unwrap().cast_signed());
        let mut lapsed = Lapsed::default();
        let start = Instant::now();
        at(SECOND);
        plane.set_certificate(0, valid(CERTIFICATE_ACTIVE, 3_600 * SECOND));
        assert_eq!(left(&mut lapsed, &plane, start), (1, 1), "valid");
        at(3_601 * SECOND);
        assert_eq!(left(&mut lapsed, &plane, start), (0, 0), "expired");
        assert_eq!(left(&mut lapsed, &plane, start + LATE / 2), (1, 1), "has just been looked at");
        assert_eq!(left(&mut lapsed, &plane, start + LATE), (0, 0), "was on its way");
        assert_eq!(left(&mut lapsed, &plane, start + 9 * LATE), (1, 1), "nothing is on its way for so long");
        at(SECOND);
        assert_eq!(left(&mut lapsed, &plane, start + 9 * LATE), (1, 1), "valid again");
        at(-SECOND);
        assert_eq!(left(&mut lapsed, &plane, start + 9 * LATE), (0, 0), "not valid yet");
        at(SECOND);
        assert_eq!(left(&mut lapsed, &plane, start + 9 * LATE), (1, 1), "valid again");
        plane.set_certificate(0, valid(CERTIFICATE_REVOKED, 3_600 * SECOND));
        assert_eq!(left(&mut lapsed, &plane, start + 9 * LATE), (1, 1), "left to who revokes");
        assert_eq!(left(&mut lapsed, &plane, start + 10 * LATE), (0, 0), "was on its way");
    }
}
