//! How many connections fit the memory, and memory that goes back to the system. Called at start and after great changes.

use std::fs;

/// One connection for so much memory; each takes about 320 octets, so at worst a twelfth of the memory is connections.
const MEMORY_PER_CONNECTION: u64 = 4096;
/// Fewer than this serve no network.
const FEWEST: u32 = 65_536;
/// More than this are not looked through in time.
const MOST: u32 = 4_194_304;

/// How many connections the kernel is told to track at most.
pub(super) fn connections() -> u32 {
    of(octets())
}

/// The memory of the machine in octets; none where it does not tell.
pub(super) fn octets() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    total(&text).unwrap_or_default()
}

/// Returns memory to the system that was freed and is kept for later. A document of 30,000 objects takes twice the memory
/// while it is read and compared that it takes afterwards; the C library would keep the difference for ever.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no other way to be asked")]
pub(super) fn give_back() {
    // SAFETY: malloc_trim(3) takes a number and may be called by any thread at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries return memory by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}

/// The memory in octets, as `/proc/meminfo` tells it in KiB.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn of(memory: u64) -> u32 {
    u32::try_from(memory / MEMORY_PER_CONNECTION).unwrap_or(MOST).clamp(FEWEST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_the_memory_within_bounds() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:  1048576 kB\n"), Some(1 << 30));
        assert_eq!(of(0), FEWEST);
        assert_eq!(of(96 << 20), FEWEST);
        assert_eq!(of(1 << 30), 262_144);
        assert_eq!(of(1 << 50), MOST);
    }
}
