import { UnsupportedError } from '../errors.js';

/** One rule of {@link SeccompProfile}. @see OCI runtime-spec, config-linux.md, "Seccomp" */
export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly {
    readonly index: number;
    readonly value: number;
    readonly valueTwo?: number;
    readonly op: string;
  }[];
}

/** The object `linux.seccomp` of the OCI runtime-spec, as far as cais uses it. */
export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly syscalls?: readonly SeccompRule[];
}

const ENOSYS = 38;
const EPERM = 1;

/** The machine's own ABI and the 32-bit ones that its kernel runs. */
const ARCHITECTURES: Readonly<Record<string, readonly string[]>> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
};

/** What any program may need, by theme. Names that an architecture or kernel does not have are left out when compiled. */
const ALLOWED: Readonly<Record<string, string>> = {
  files: `access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 arm_fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
    fdatasync file_getattr file_setattr flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat
    getcwd getdents getdents64 ioctl lchown lchown32 link linkat lseek _llseek lstat lstat64 mkdir mkdirat mknod mknodat
    name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs
    statfs64 statx symlink symlinkat sync sync_file_range sync_file_range2 arm_sync_file_range syncfs tee truncate truncate64
    umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev cachestat statmount listmount`,
  attributes: `fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
    lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat`,
  watching: 'inotify_add_watch inotify_init inotify_init1 inotify_rm_watch fanotify_mark',
  memory: `brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease
    remap_file_pages`,
  processes: `alarm arch_prctl breakpoint cacheflush capget capset execve execveat exit exit_group fork futex futex_requeue
    futex_time64 futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid
    getpriority getrlimit getrusage getsid gettid ioprio_get ioprio_set kill modify_ldt nice pause pidfd_open
    pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq set_robust_list
    set_thread_area set_tid_address set_tls setpgid setpriority setrlimit setsid tgkill times tkill ugetrlimit uname vfork
    wait4 waitid waitpid sysinfo`,
  scheduling: `sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield`,
  users: `getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid
    getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid
    setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32`,
  signals: `rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signalfd signalfd4 sigprocmask sigreturn`,
  time: `adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64`,
  events: `epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll
    ppoll_time64 pselect6 pselect6_time64 select`,
  communication: `ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl
    shmdt shmget`,
  sockets: `accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
    recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketpair`,
  security: `getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules
    seccomp`,
};

/** What a capability brings: calls that the kernel guards by it, and that are of no use without. */
const ALLOWED_BY_CAPABILITY: Readonly<Record<string, string>> = {
  BPF: 'bpf',
  DAC_READ_SEARCH: 'open_by_handle_at',
  PERFMON: 'perf_event_open',
  SYS_ADMIN: `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
    open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2
    unshare`,
  SYS_BOOT: 'reboot',
  SYS_CHROOT: 'chroot',
  SYS_MODULE: 'delete_module finit_module init_module',
  SYS_NICE: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node',
  SYS_PACCT: 'acct',
  SYS_PTRACE: 'kcmp pidfd_getfd process_madvise',
  SYS_RAWIO: 'ioperm iopl',
  SYS_TIME: 'clock_settime clock_settime64 settimeofday stime',
  SYS_TTY_CONFIG: 'vhangup',
  SYSLOG: 'syslog',
};

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. */
const NAMESPACE_FLAGS = 0x7e020000;
/** Only unshare(2) takes it: in clone(2) the bit belongs to the signal. */
const CLONE_NEWTIME = 0x80;

/**
 * Address families as aligned blocks `[first, size]`: all but 38 (AF_ALG: the kernel's cryptography, a steady source of holes) and 40
 * (AF_VSOCK: reaches past the network namespace to the hypervisor). The kernel takes the low 32 bits of the argument only, so the comparison
 * must, too: "not equal to 38" would let 2³² + 38 through. A mask can say that, and compares a whole block at once.
 */
const FAMILY_BLOCKS: readonly (readonly [first: number, size: number])[] = [
  [0, 32],
  [32, 4],
  [36, 2],
  [39, 1],
  [41, 1],
  [42, 2],
  [44, 4],
];

/** PER_LINUX, PER_LINUX32, both with UNAME26, and the question for the current one. Others switch protections off (READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE). */
const PERSONALITIES = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];

const allow = (names: readonly string[], args?: SeccompRule['args']): SeccompRule => ({
  names,
  action: 'SCMP_ACT_ALLOW',
  ...(args === undefined ? {} : { args }),
});

const maskedEqual = (mask: number, value: number) => [
  { index: 0, op: 'SCMP_CMP_MASKED_EQ', value: mask, valueTwo: value },
];

const words = (text: string) => text.split(/\s+/).filter((word) => word !== '');

/**
 * The profile of containers that ask for no other: what is not allowed answers EPERM. Against programs that are out to break the machine it
 * takes away the parts of the kernel where holes are found and ordinary programs have no business: keyctl, bpf, userfaultfd, io_uring,
 * perf_event_open, mounts, new namespaces (clone3 answers ENOSYS, since its flags cannot be looked at and the C library then takes clone),
 * AF_ALG and AF_VSOCK. On x86 the old socketcall is not allowed, because its address family cannot be looked at either: 32-bit programs of
 * glibc that use it have no sockets, those of musl call socket.
 * `capabilities` (`CAP_SYS_ADMIN` or `SYS_ADMIN`) are those of the bounding set: each brings the calls that it guards.
 * @throws UnsupportedError on an architecture that cais does not know.
 */
export function defaultSeccompProfile(
  capabilities: readonly string[],
  architecture: string = process.arch,
): SeccompProfile {
  const architectures = ARCHITECTURES[architecture];
  if (architectures === undefined) {
    throw new UnsupportedError(`No seccomp profile for the architecture "${architecture}"`);
  }
  const granted = new Set(capabilities.map((name) => name.replace(/^CAP_/, '')));
  const byCapability = Object.entries(ALLOWED_BY_CAPABILITY)
    .filter(([capability]) => granted.has(capability))
    .flatMap(([, names]) => words(names));
  const names = [...new Set([...Object.values(ALLOWED).flatMap(words), ...byCapability])].sort();
  const admin = granted.has('SYS_ADMIN');
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    architectures,
    syscalls: [
      allow(names),
      ...FAMILY_BLOCKS.map(([first, size]) =>
        allow(['socket'], maskedEqual(0x1_0000_0000 - size, first)),
      ),
      ...PERSONALITIES.map((value) =>
        allow(['personality'], [{ index: 0, op: 'SCMP_CMP_EQ', value }]),
      ),
      ...(admin
        ? []
        : [
            allow(['clone'], maskedEqual(NAMESPACE_FLAGS, 0)),
            allow(['unshare'], maskedEqual(NAMESPACE_FLAGS | CLONE_NEWTIME, 0)),
            { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
          ]),
    ],
  };
}
