//! Owns the frames of a bench: `BPF_PROG_TEST_RUN` gives each repeat the frame that the last one left behind, so each
//! starts by writing the next of a mix over it. Never part of a program that is attached.

use lb_abi::maps::TEMPLATE_BYTES;

use crate::{
    frame::{Frame, key},
    maps::TEMPLATES,
    packet::Packet,
};

/// Writes the first bytes of the next template, if the frame has room for them.
#[inline(always)]
pub fn next_template(frame: &Frame, p: &mut Packet) {
    let mut template = TEMPLATES.get_ptr(key(p.template));
    // SAFETY: a value of an array map.
    if template.is_none_or(|template| unsafe { (*template).len } == 0) {
        p.template = 0;
        template = TEMPLATES.get_ptr(key(0));
    }
    p.template += 1;
    let (Some(template), Some(bytes)) = (template, frame.at::<TEMPLATE_BYTES>(0)) else { return };
    // SAFETY: as above.
    let from = unsafe { (&raw const (*template).bytes).cast::<u8>() };
    // In words that start 2 bytes in, as an IP header does: a load of two words just stored waits until both are in the
    // cache, which no frame from a device makes it do, and the bench would take it for the program's own time.
    // SAFETY: below the end of `bytes`, as all that follow.
    bytes.put16(0, unsafe { from.cast::<u16>().read_unaligned() });
    for n in 0..TEMPLATE_BYTES / 8 - 1 {
        // SAFETY: as above.
        bytes.put64(2 + 8 * n, unsafe { from.add(2 + 8 * n).cast::<u64>().read_unaligned() });
    }
    const LAST: usize = TEMPLATE_BYTES - 6;
    // SAFETY: as above.
    unsafe {
        bytes.put32(LAST, from.add(LAST).cast::<u32>().read_unaligned());
        bytes.put16(LAST + 4, from.add(LAST + 4).cast::<u16>().read_unaligned());
    }
}
