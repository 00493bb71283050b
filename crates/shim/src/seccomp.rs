//! The system call filter: the allow-list of Docker's default profile, as a program of few instructions.
//!
//! The calls are laid out as a binary search over ranges of numbers. The kernel runs a new filter once per call number
//! to learn which it may skip later, so a short path through the program is most of the cost of starting a container.

mod table;

use crate::sys::Instruction;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// Fails with this error number.
    Fail(i32),
    /// Allowed when none of these bits is set in the first argument.
    NoBits(u32),
    /// Allowed when the lower half of the first argument is one of these.
    OneOf(&'static [u32]),
}

/// Flags of `clone` that make namespaces.
const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u32;

/// Linux, 32 bit Linux, both with UNAME26, and the query.
const PERSONALITIES: &[u32] = &[0, 8, 0x20000, 0x20008, 0xffff_ffff];

/// Unix, IPv4, IPv6 and netlink: no VSOCK (it reaches the hypervisor), no kernel crypto, no raw packets.
const SOCKET_FAMILIES: &[u32] = &[
    libc::AF_UNIX as u32,
    libc::AF_INET as u32,
    libc::AF_INET6 as u32,
    libc::AF_NETLINK as u32,
];

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Numbers from here on are the x32 variant of the calls.
const X32_FIRST: u32 = 0x4000_0000;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGUMENT: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn verdict(number: i64) -> Verdict {
    match number {
        libc::SYS_clone => Verdict::NoBits(NAMESPACE_FLAGS),
        // Its flags are behind a pointer; programs fall back to clone.
        libc::SYS_clone3 => Verdict::Fail(libc::ENOSYS),
        libc::SYS_personality => Verdict::OneOf(PERSONALITIES),
        libc::SYS_socket => Verdict::OneOf(SOCKET_FAMILIES),
        number if table::ALLOWED.contains(&number) => Verdict::Allow,
        _ => Verdict::Fail(libc::EPERM),
    }
}

/// The filter.
pub fn program() -> Vec<Instruction> {
    let mut segments: Vec<(u32, Verdict)> = Vec::new();
    for number in 0..=table::LAST + 1 {
        let verdict = verdict(number);
        if segments.last().is_none_or(|(_, last)| *last != verdict) {
            segments.push((number as u32, verdict));
        }
    }
    segments.push((X32_FIRST, Verdict::Fail(libc::ENOSYS)));
    let mut program = vec![
        statement(LOAD, OFFSET_ARCH),
        jump(JUMP_EQ, AUDIT_ARCH, 1, 0),
        statement(RETURN, fail(libc::ENOSYS)),
        statement(LOAD, OFFSET_NUMBER),
    ];
    program.extend(search(&segments));
    program
}

/// Finds the segment the number is in; every segment but the first is known by the number it begins with.
fn search(segments: &[(u32, Verdict)]) -> Vec<Instruction> {
    if let [(_, verdict)] = segments {
        return answer(*verdict);
    }
    let (lower, upper) = segments.split_at(segments.len() / 2);
    let lower = search(lower);
    let distance =
        u8::try_from(lower.len()).expect("half of the table is shorter than the longest jump");
    let mut program = vec![jump(JUMP_GE, upper[0].0, distance, 0)];
    program.extend(lower);
    program.extend(search(upper));
    program
}

fn answer(verdict: Verdict) -> Vec<Instruction> {
    let allow = statement(RETURN, libc::SECCOMP_RET_ALLOW);
    let refuse = statement(RETURN, fail(libc::EPERM));
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Fail(errno) => vec![statement(RETURN, fail(errno))],
        Verdict::NoBits(bits) => {
            vec![
                statement(LOAD, OFFSET_ARGUMENT),
                jump(JUMP_SET, bits, 1, 0),
                allow,
                refuse,
            ]
        }
        Verdict::OneOf(values) => {
            let mut program = vec![statement(LOAD, OFFSET_ARGUMENT)];
            for (index, value) in values.iter().enumerate() {
                program.push(jump(JUMP_EQ, *value, (values.len() - index) as u8, 0));
            }
            program.extend([refuse, allow]);
            program
        }
    }
}

fn fail(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (errno as u32 & libc::SECCOMP_RET_DATA)
}

fn statement(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would and counts the instructions it took.
    fn run(program: &[Instruction], arch: u32, number: u32, argument: u32) -> (u32, usize) {
        let (mut at, mut value) = (0, 0);
        for steps in 1.. {
            let instruction = program[at];
            at += 1;
            let taken = match instruction.code {
                LOAD => {
                    value = match instruction.k {
                        OFFSET_NUMBER => number,
                        OFFSET_ARCH => arch,
                        OFFSET_ARGUMENT => argument,
                        other => panic!("load from {other}"),
                    };
                    continue;
                }
                RETURN => return (instruction.k, steps),
                JUMP_EQ => value == instruction.k,
                JUMP_GE => value >= instruction.k,
                JUMP_SET => value & instruction.k != 0,
                other => panic!("instruction {other}"),
            };
            at += usize::from(if taken {
                instruction.jt
            } else {
                instruction.jf
            });
        }
        unreachable!()
    }

    #[test]
    fn every_number_gets_its_verdict_in_few_steps() {
        let program = program();
        for number in 0..2000_i64 {
            let (answer, steps) = run(&program, AUDIT_ARCH, number as u32, 0);
            let expected = match verdict(number) {
                Verdict::Fail(errno) => fail(errno),
                // A zero argument is fine for clone and personality, and no socket family.
                Verdict::OneOf(SOCKET_FAMILIES) => fail(libc::EPERM),
                _ => libc::SECCOMP_RET_ALLOW,
            };
            assert_eq!(answer, expected, "call {number}");
            assert!(steps <= 20, "call {number} takes {steps} instructions");
        }
        assert!(program.len() < 400, "{} instructions", program.len());
    }

    #[test]
    fn dangerous_calls_are_refused() {
        let program = program();
        for number in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_open_by_handle_at,
            libc::SYS_io_uring_setup,
            libc::SYS_reboot,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
        ] {
            assert_eq!(
                run(&program, AUDIT_ARCH, number as u32, 0).0,
                fail(libc::EPERM),
                "call {number}"
            );
        }
        assert_eq!(
            run(&program, AUDIT_ARCH, libc::SYS_clone3 as u32, 0).0,
            fail(libc::ENOSYS)
        );
    }

    #[test]
    fn arguments_decide_where_the_call_alone_does_not() {
        let program = program();
        let check =
            |number: i64, argument: u32| run(&program, AUDIT_ARCH, number as u32, argument).0;
        let threads =
            (libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_THREAD) as u32;
        assert_eq!(check(libc::SYS_clone, threads), libc::SECCOMP_RET_ALLOW);
        assert_eq!(
            check(libc::SYS_clone, threads | libc::CLONE_NEWUSER as u32),
            fail(libc::EPERM)
        );
        for family in SOCKET_FAMILIES {
            assert_eq!(check(libc::SYS_socket, *family), libc::SECCOMP_RET_ALLOW);
        }
        for family in [libc::AF_VSOCK, libc::AF_ALG, libc::AF_PACKET] {
            assert_eq!(check(libc::SYS_socket, family as u32), fail(libc::EPERM));
        }
        assert_eq!(check(libc::SYS_personality, 0x0040_0000), fail(libc::EPERM));
    }

    #[test]
    fn other_architectures_have_no_calls() {
        let program = program();
        assert_eq!(run(&program, 0x4000_0003, 1, 0).0, fail(libc::ENOSYS));
        assert_eq!(
            run(&program, AUDIT_ARCH, X32_FIRST + 1, 0).0,
            fail(libc::ENOSYS)
        );
    }
}
