//! The environment the platform's processes are started with: what the C library and the allocator read before its first instruction.

/// Huge pages would make the allocator's few megabytes many.
const NO_HUGE_PAGES: (&str, &str) = ("MIMALLOC_ALLOW_THP", "0");

/// Copies with vector instructions, whatever their length.
const VECTOR_COPIES: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.x86_rep_movsb_threshold=0x7fffffff",
);

/// What is set for a process of the platform on this machine. What the operator has set stands.
pub fn tuning() -> Vec<(&'static str, &'static str)> {
    // Without it the process is only not tuned.
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut variables = tuned_for(&cpuinfo);
    variables.retain(|(name, _)| std::env::var_os(name).is_none());
    variables
}

/// Variables for a machine that describes its processors like this.
///
/// The C library copies more than 2 KiB with `rep movsb` where a processor says that it does so fast. AMD's say so since
/// Zen 3 and are several times slower than with vectors unless both sides are aligned, which a TLS record after its header
/// never is (<https://sourceware.org/bugzilla/show_bug.cgi?id=30994>): a third of the time a large body
/// over TLS takes. Other C libraries do not read the variable.
fn tuned_for(cpuinfo: &str) -> Vec<(&'static str, &'static str)> {
    let amd = cpuinfo
        .lines()
        .any(|line| line.starts_with("vendor_id") && line.ends_with("AuthenticAMD"));
    match amd {
        true => vec![NO_HUGE_PAGES, VECTOR_COPIES],
        false => vec![NO_HUGE_PAGES],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_tuned_for_amd_alone() {
        let cpuinfo =
            |vendor: &str| format!("processor\t: 0\nvendor_id\t: {vendor}\nflags\t: fsrm\n");
        let vectors = |vendor| tuned_for(&cpuinfo(vendor)).contains(&VECTOR_COPIES);
        assert!(vectors("AuthenticAMD"));
        assert!(!vectors("GenuineIntel"));
        assert_eq!(tuned_for(""), [NO_HUGE_PAGES]);
    }
}
