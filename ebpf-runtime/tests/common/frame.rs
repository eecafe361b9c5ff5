//! A frame for the tests of the kernel side.

/// Ethernet, IPv4, UDP with no payload: 42 bytes.
pub fn udp() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend([0x12, 0x34, 0, 53, 0, 8, 0, 0]);
    frame
}
