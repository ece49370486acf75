# shellcheck shell=bash
# What nobody gets by, not even the root shell that only the debug image has: nothing that runs can be changed, nothing that
# can be changed runs, and nothing listens but the router. Sourced by tests/qemu/run.

# fails_there TEXT COMMAND: a command that has to fail in the machine's root shell.
fails_there() {
    is "$1" refused "$(console "if { $2; } >/dev/null 2>&1; then echo went through; else echo refused; fi")"
}

# setting PATH: a setting of the machine's kernel; nothing where it has none.
setting() {
    console "cat $1 2>/dev/null"
}

# has_setting PATH VALUE TEXT: a setting that has to be so in a kernel that has it.
has_setting() {
    local found
    found=$(setting "$1")
    [[ -z $found || $found == "$2" ]] || { vm_words && fail "$3: $1 is $found"; }
    printf '  ok  %s\n' "$3"
}

# shellcheck disable=SC2016  # the machine's shell expands it
case_no_way_in() {
    local process='/proc/$(systemctl show --property MainPID --value vrouterd)'
    boot_with_shell
    vm_until "its console has a shell" "$START" console_ready
    fails_there 'the root cannot be written' 'busybox touch /x'
    fails_there 'nor /etc' 'busybox touch /etc/x'
    fails_there 'nor the programs' 'busybox touch /usr/bin/x'
    fails_there 'nor mounted anew for writing' 'mount -o remount,rw / && busybox touch /x'
    is 'whatever can be written runs no program' '/dev /run /tmp /var' "$(console 'for folder in /dev /run /tmp /var; do
        busybox cp /usr/bin/busybox $folder/x 2>/dev/null; $folder/x true 2>/dev/null || echo $folder; busybox rm -f $folder/x
        done' | xargs)"
    is 'nothing has a setuid bit' '' "$(console 'busybox find / -xdev -perm /6000')"
    is 'nobody has a password' 'root:x vrouter:x nobody:x' "$(console 'busybox cut -d : -f 1,2 /etc/passwd' | xargs)"
    is 'nor a shell' '' "$(console 'grep -v nologin /etc/passwd')"
    fails_there 'and there is no file of passwords' 'ls /etc/shadow'

    is 'no core of the router' '0 0' "$(console "grep 'core file' $process/limits" | awk 'NF { print $5, $6 }')"
    # The shell says how its child ended, whatever was written of it.
    is 'nor of anybody' '' "$(console 'cd /tmp; (ulimit -c unlimited; sh -c "kill -SEGV \$\$") >/dev/null 2>&1; ls /tmp | grep core' | grep -v 'Segmentation fault')"
    # A kernel that writes no dumps has no such setting.
    has_setting /proc/sys/kernel/core_pattern /dev/null 'dumps go nowhere'

    is 'no module can be loaded' 1 "$(setting /proc/sys/kernel/modules_disabled)"
    has_setting /proc/sys/kernel/kexec_load_disabled 1 'nor another kernel'
    fails_there 'nor memory read' 'busybox dd if=/dev/mem of=/dev/null bs=4096 count=1 skip=1'
    # Where there is no file that says so, the kernel's log does.
    holds 'the kernel is locked down against root' \
        test -n "$(console 'cat /sys/kernel/security/lockdown 2>/dev/null; dmesg | grep "locked down from"' |
            grep -oE '\[integrity\]|Kernel is locked down from')"
    has_setting /proc/sys/kernel/sysrq 0 'no magic keys'
    is 'no process watches another' 3 "$(setting /proc/sys/kernel/yama/ptrace_scope)"

    is 'nothing listens but the API and the port of ZStack' '0.0.0.0:7270 0.0.0.0:7272' \
        "$(console 'netstat -ltn' | awk '$1 ~ /^tcp/ { print $4 }' | sort | xargs)"
    is 'nor for datagrams' '' "$(console 'netstat -lun' | awk '$1 ~ /^udp/ { print $4 }')"
    is 'nothing runs but what has to' 'head sh systemd systemd-journal vrouterd' \
        "$(console 'for status in /proc/[0-9]*/status; do grep -q VmSize $status && busybox head -n 1 $status | busybox cut -f 2; done' |
            grep -vxE 'grep|cut|busybox' | sort -u | xargs)"
    is 'no unit failed' 0 "$(console 'systemctl list-units --failed --plain --no-legend --no-pager | grep -c .')"
}

# Where operators find the machine.
SSH_ADDRESS=192.168.0.188

# over_ssh KEY WORD...: a command of the router, as an operator with that key has it done; what comes along is standard input.
over_ssh() {
    local key=$1
    shift
    inside operator timeout 60 ssh -F none -i "$LAB_DIR/$key" -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout=10 \
        -o "UserKnownHostsFile=$LAB_DIR/known_hosts" -o StrictHostKeyChecking="${SSH_KNOWN:-accept-new}" "operator@$SSH_ADDRESS" "$@"
}

# ssh_listens: whether anybody takes connections at the port of SSH.
ssh_listens() {
    inside operator nc -z -w 2 "$SSH_ADDRESS" 22
}

ssh_is_closed() {
    ! ssh_listens
}

# No SSH unless the configuration turns it on with keys; then the commands of vrctl, for those keys, from the management network,
# on the same host key after a power cut; and none again.
case_ssh() {
    local key fingerprint
    boot
    holds 'nothing listens at its port' ssh_is_closed
    apply_demo >/dev/null
    web1_by_hand
    for key in alice mallory; do
        rm -f "$LAB_DIR/$key" "$LAB_DIR/$key.pub"
        ssh-keygen -q -t ed25519 -N '' -C "$key" -f "$LAB_DIR/$key"
    done
    rm -f "$LAB_DIR/known_hosts"
    jq -n --arg key "$(<"$LAB_DIR/alice.pub")" '{ssh: {keys: {alice: {public_key: $key, role: "write"}}}}' >"$LAB_DIR/ssh.json"
    api PATCH /v1/config "$LAB_DIR/ssh.json" | jq -e .generation >/dev/null || fail "the configuration was refused"
    shows 'an operator has the status' 'public up' over_ssh alice status
    refuses 'who has another key has nothing' over_ssh mallory status
    refuses 'a guest does not reach it' inside web1 nc -z -w 2 10.1.1.1 22
    refuses 'nor does he by another address' inside web1 nc -z -w 2 "$SSH_ADDRESS" 22
    refuses 'nor does the internet' inside internet nc -z -w 2 198.51.100.5 22
    refuses 'there is no shell' over_ssh alice sh -c id
    fingerprint=$(inside operator ssh-keyscan -t ed25519 "$SSH_ADDRESS" 2>/dev/null | ssh-keygen -lf - | cut -d ' ' -f 2)
    vm_until "the console says how the router is known" "$START" console_says "SSH at 192\.168\.0\.188:22, host key ${fingerprint//+/\\+}"
    printf '  ok  the console says how the router is known: %s\n' "$fingerprint"
    vm_power_cut
    vm_start again
    SSH_KNOWN=yes
    vm_until "an operator comes in again" "$START" over_ssh alice config
    printf '  ok  after a power cut it is the same router to its clients\n'
    shows 'a document comes along with a command' 'removed /ssh' over_ssh alice patch - <<<'{"ssh": null}'
    SSH_KNOWN=
    vm_until "SSH is off" "$START" ssh_is_closed
    printf '  ok  and SSH is off\n'
    is 'nothing failed' 0 "$DEMO_FAILED"
}

# console_since OFFSET PATTERN: whether the console has said something since it was so long.
console_since() {
    tail -c "+$1" "$VM_CONSOLE" | grep -aqE "$2"
}

# How long the console's record is.
console_length() {
    stat -c %s "$VM_CONSOLE"
}

# Whoever opens a serial console sees nothing of before: Enter tells what the machine is, and news come by themselves.
case_console_tells() {
    local length
    boot
    vm_until "the console says what the router is" "$START" console_says 'vrouter [0-9.]+: ok'
    holds 'its addresses' console_says 'mgmt: 192\.168\.0\.188/24 \(management; eth0\)'
    holds 'and where it takes orders' console_says 'its API answers management networks at 0\.0\.0\.0:7270'
    length=$(console_length)
    apply_demo >/dev/null
    vm_until "the console says what it has become" "$START" console_since "$length" 'public: 198\.51\.100\.5/24'
    printf '  ok  a configuration that comes later is told\n'
    length=$(console_length)
    printf '\n' | socat -t 1 - "UNIX-CONNECT:$VM_SOCKET" >/dev/null
    vm_until "Enter is answered" "$START" console_since "$length" 'vrouter [0-9.]+: '
    printf '  ok  Enter has it told again\n'
    holds 'in a few lines' test "$(tail -c "+$length" "$VM_CONSOLE" | wc -l)" -le 14
}
