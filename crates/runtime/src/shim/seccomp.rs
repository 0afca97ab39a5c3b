//! The default system call filter (`seccompProfile: RuntimeDefault`), after moby's and containerd's.
//!
//! What an ordinary program needs is allowed; all else fails with `EPERM`, and `clone3` with `ENOSYS`:
//! its flags are in memory, where no filter can look, and the C library then falls back on `clone`.
//!
//! Installing it takes CAP_SYS_ADMIN or `no_new_privs` (seccomp(2)). So the container's process keeps that
//! capability, and the one to give it up, for a moment longer than all others, unless it can't gain
//! privileges anyway. Programs of the other word size are killed.

use std::collections::BTreeMap;
use std::io;

use karve_sys::privilege::{self, FilterInstruction};
use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::spec::Seccomp;

/// `CLONE_NEW*` of all kinds of namespaces but time, which `clone` can't make.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// Harmless values of `personality(2)`: Linux, 32 bit, UNAME26, both, and "tell me".
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Numbers of system calls by their names.
macro_rules! numbers {
    ($($name:ident)*) => { [$(libc::$name),*] };
}

/// Allowed whatever their arguments.
fn plain() -> Vec<i64> {
    let mut calls = numbers![
        SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_chroot
        SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range
        SYS_connect SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
        SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat
        SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat
        SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock
        SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv
        SYS_get_robust_list SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid
        SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority
        SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_getrusage SYS_getsid SYS_getsockname
        SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr SYS_inotify_add_watch
        SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel SYS_io_destroy SYS_io_getevents
        SYS_io_setup SYS_io_submit SYS_ioctl SYS_ioprio_get SYS_ioprio_set SYS_kill SYS_landlock_add_rule
        SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen
        SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise SYS_membarrier
        SYS_memfd_create SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap
        SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend
        SYS_mq_unlink SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock
        SYS_munlockall SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2
        SYS_pidfd_getfd SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free
        SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64
        SYS_process_madvise SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev SYS_pselect6
        SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv
        SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_renameat SYS_renameat2
        SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask
        SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo
        SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr
        SYS_sched_getparam SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity
        SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl
        SYS_semget SYS_semop SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto
        SYS_set_robust_list SYS_set_tid_address SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups
        SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid
        SYS_setrlimit SYS_setsid SYS_setsockopt SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt
        SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4 SYS_socketpair SYS_splice SYS_statfs SYS_statx
        SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create
        SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create
        SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname
        SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
    ]
    .to_vec();
    calls.extend(of_this_architecture());
    calls
}

/// Older forms, which later architectures never had.
#[cfg(target_arch = "x86_64")]
fn of_this_architecture() -> Vec<i64> {
    numbers![
        SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
        SYS_epoll_ctl_old SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat
        SYS_get_thread_area SYS_getdents SYS_getpgrp SYS_inotify_init SYS_lchown SYS_link SYS_lstat
        SYS_memfd_secret SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink
        SYS_rename SYS_rmdir SYS_select SYS_set_thread_area SYS_signalfd SYS_stat SYS_symlink SYS_time
        SYS_unlink SYS_utime SYS_utimes SYS_vfork
    ]
    .to_vec()
}

/// Nothing: the plain list is what this architecture has.
#[cfg(not(target_arch = "x86_64"))]
fn of_this_architecture() -> Vec<i64> {
    Vec::new()
}

fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?])
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        plain().into_iter().map(|call| (call, Vec::new())).collect();
    rules.insert(
        libc::SYS_clone,
        vec![when(0, SeccompCmpOp::MaskedEq(NAMESPACE_FLAGS), 0)?],
    );
    let vsock = u64::from(libc::AF_VSOCK.cast_unsigned());
    rules.insert(libc::SYS_socket, vec![when(0, SeccompCmpOp::Ne, vsock)?]);
    let personalities = PERSONALITIES
        .iter()
        .map(|value| when(0, SeccompCmpOp::Eq, *value));
    rules.insert(
        libc::SYS_personality,
        personalities.collect::<Result<_, _>>()?,
    );
    // The other filter answers.
    rules.insert(libc::SYS_clone3, Vec::new());
    Ok(rules)
}

fn programs() -> Result<[BpfProgram; 2], BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let (allow, deny) = (
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
    );
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let clone3 = [(libc::SYS_clone3, Vec::new())].into();
    Ok([
        SeccompFilter::new(clone3, allow.clone(), absent, arch)?.try_into()?,
        SeccompFilter::new(rules()?, deny, allow, arch)?.try_into()?,
    ])
}

/// Filters the calling process's system calls from now on.
pub(super) fn install(how: Seccomp) -> io::Result<()> {
    if how == Seccomp::Unconfined {
        return Ok(());
    }
    for program in programs().map_err(io::Error::other)? {
        match how {
            Seccomp::Keeping(_) => privilege::filter_system_calls(&instructions(&program))?,
            _ => apply_filter(&program).map_err(io::Error::other)?,
        }
    }
    match how {
        Seccomp::Keeping(capabilities) => privilege::keep_capabilities(capabilities),
        _ => Ok(()),
    }
}

fn instructions(program: &BpfProgram) -> Vec<FilterInstruction> {
    let plain = |instruction: &seccompiler::sock_filter| FilterInstruction {
        code: instruction.code,
        jump_true: instruction.jt,
        jump_false: instruction.jf,
        operand: instruction.k,
    };
    program.iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_one_that_the_kernel_takes() {
        for program in programs().expect("compile") {
            assert!(
                !program.is_empty() && program.len() < 4096,
                "{}",
                program.len()
            );
        }
        assert!(!plain().contains(&libc::SYS_unshare));
        assert!(!plain().contains(&libc::SYS_mount));
    }
}
