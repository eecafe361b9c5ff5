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
    // SAFETY: as above; `bytes` starts at 8.
    let words = unsafe { (&raw const (*template).bytes).cast::<u64>() };
    for n in 0..TEMPLATE_BYTES / 8 {
        // SAFETY: below the end of `bytes`.
        bytes.put64(8 * n, unsafe { *words.add(n) });
    }
}
