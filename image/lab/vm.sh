# shellcheck shell=bash
# The machine: QEMU with the image's kernel, initramfs and root, or with a disk and firmware. Sourced by image/run and tests/qemu/run, after net.sh.

# What a machine is started with; whoever sources this changes it before vm_start.
VM_ROOT=$OUT/root.erofs
VM_MEMORY=96
# The same for a machine with firmware, which needs memory of its own while it starts.
VM_DISK_MEMORY=128
VM_ACCELERATOR=tcg
# Emulation by one thread, for cases that start a machine very often or count how often it starts: now and then one of two
# threads runs an instruction that the other's kernel has just replaced, and that kernel then ends in an int3 of its own.
VM_STEADY=tcg,thread=single
# A copy of $OUT/disk.raw: the machine starts from it by its firmware, and a restart does not end QEMU. Empty: QEMU itself
# starts the kernel, from files.
VM_DISK=
# The firmware, and what it remembers when a machine is new.
VM_FIRMWARE=/usr/share/OVMF/OVMF_CODE_4M.fd
VM_FIRMWARE_MEMORY=/usr/share/OVMF/OVMF_VARS_4M.fd
# A copy of $OUT/data.ext4 that keeps the state; empty: the machine has no data disk.
VM_DATA=
# A program that takes a disk as it was at the start and a log of what was written since, and leaves what had been flushed:
# a power cut loses the rest then, as a real one may. Empty: what the machine wrote is there, flushed or not.
VM_REPLAY=
# A file with the first configuration; empty: the machine gets none.
VM_CONFIG=
# How it is given: by the firmware's tables (smbios), or by QEMU's own device (fw_cfg).
VM_CONFIG_BY=smbios
# The token that the machine takes from the lab's operator; empty: it is given none, and its API stays on its loopback.
VM_TOKEN=$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')
# vrctl asks with it.
export VROUTER_TOKEN=$VM_TOKEN
# Whether the firmware's tables give it that; empty: it learns it otherwise.
VM_TOKEN_GIVEN=yes
# More words for the kernel.
VM_APPEND=
# More arguments for QEMU.
VM_MORE=()
# A socket by which a host speaks to the machine as ZStack's do, over virtio-serial; empty: there is none.
VM_VPORT=
# NETWORK=MAC, in the order of the PCI slots.
VM_NICS=()
# How many queues each of them has, at most as many as the machine has processors.
VM_QUEUES=1

VM_PID=
# How many queues the lab's taps are made for.
VM_TAP_QUEUES=1

# vm_start NAME: starts the machine in the lab. Its console is in $LAB_DIR/NAME.console, and open at NAME.socket;
# QEMU's monitor is at NAME.monitor.
vm_start() {
    local name=$1 nic network arguments queues='' vectors=''
    VM_CONSOLE=$LAB_DIR/$name.console
    VM_SOCKET=$LAB_DIR/$name.socket
    VM_MONITOR=$LAB_DIR/$name.monitor
    # No device that is not asked for.
    arguments=(
        -accel "$VM_ACCELERATOR" -cpu max -M q35 -smp 2 -m "$VM_MEMORY"
        -nodefaults -no-user-config -display none -name "$name,debug-threads=on"
        -object 'rng-random,id=rng,filename=/dev/urandom' -device 'virtio-rng-pci,rng=rng'
        -chardev "socket,id=console,path=$VM_SOCKET,server=on,wait=off,logfile=$VM_CONSOLE" -serial chardev:console
        -monitor "unix:$VM_MONITOR,server=on,wait=off"
    )
    if [[ -n $VM_DISK ]]; then
        # Beside the disk, since it is as much a part of the machine.
        [[ -e $VM_DISK.firmware ]] || cp "$VM_FIRMWARE_MEMORY" "$VM_DISK.firmware"
        arguments+=(
            -drive "if=pflash,unit=0,format=raw,readonly=on,file=$VM_FIRMWARE"
            -drive "if=pflash,unit=1,format=raw,file=$VM_DISK.firmware"
            -device 'virtio-blk-pci,drive=disk,bootindex=1'
        )
        vm_disk disk "$VM_DISK"
    else
        # A crash ends QEMU instead of starting the machine again.
        arguments+=(
            -no-reboot -kernel "$OUT/vmlinuz" -initrd "$OUT/initrd" -append "$(<"$OUT/cmdline")${VM_APPEND:+ $VM_APPEND}"
            -drive "if=none,id=root,file=$VM_ROOT,format=raw,readonly=on" -device 'virtio-blk-pci,drive=root'
        )
    fi
    if [[ -n $VM_DATA ]]; then
        arguments+=(-device 'virtio-blk-pci,drive=data')
        vm_disk data "$VM_DATA"
    fi
    if [[ -n $VM_CONFIG && $VM_CONFIG_BY == fw_cfg ]]; then
        arguments+=(-fw_cfg "name=opt/io.systemd.credentials/vrouter.config,file=$VM_CONFIG")
    elif [[ -n $VM_CONFIG ]]; then
        arguments+=(-smbios "type=11,value=io.systemd.credential.binary:vrouter.config=$(base64 -w 0 "$VM_CONFIG")")
    fi
    if [[ -n $VM_VPORT ]]; then
        arguments+=(
            -device virtio-serial-pci -chardev "socket,id=vport,path=$VM_VPORT,server=on,wait=off"
            -device 'virtserialport,chardev=vport,name=applianceVm.vport'
        )
    fi
    if [[ -n $VM_TOKEN && -n $VM_TOKEN_GIVEN ]]; then
        arguments+=(-smbios "type=11,value=io.systemd.credential.binary:vrouter.tokens=$(base64 -w 0 <<<"lab write $VM_TOKEN")")
    fi
    vm_tap_queues
    if ((VM_QUEUES > 1)); then
        queues=,queues=$VM_QUEUES
        # One for each queue and direction, one for the queue of commands, one for changes of the device.
        vectors=,mq=on,vectors=$((2 * VM_QUEUES + 2))
    fi
    for nic in "${VM_NICS[@]}"; do
        network=${nic%%=*}
        arguments+=(
            -netdev "tap,id=$network,ifname=tap-$network,script=no,downscript=no$queues"
            -device "virtio-net-pci,netdev=$network,mac=${nic#*=},romfile=$vectors"
        )
    done
    start_inside net "$name" qemu-system-x86_64 "${arguments[@]}" "${VM_MORE[@]}"
    VM_PID=$STARTED
    VM_LOG=$LAB_DIR/$name.log
}

# vm_tap_queues: makes the taps anew where they are for another number of queues.
vm_tap_queues() {
    local nic kind=''
    ((VM_QUEUES != VM_TAP_QUEUES)) || return 0
    ((VM_QUEUES == 1)) || kind=multi_queue
    for nic in "${VM_NICS[@]}"; do
        tap "${nic%%=*}" $kind
    done
    VM_TAP_QUEUES=$VM_QUEUES
}

# vm_disk NODE FILE: adds a disk to vm_start's arguments, with a log of what is written to it where a cut is to lose some.
vm_disk() {
    arguments+=(-blockdev "driver=file,node-name=$1-file,filename=$2")
    if [[ -z $VM_REPLAY ]]; then
        arguments+=(-blockdev "driver=raw,node-name=$1,file=$1-file")
        return
    fi
    cp --sparse=always "$2" "$2.before"
    : >"$2.writes"
    arguments+=(
        -blockdev "driver=file,node-name=$1-writes,filename=$2.writes"
        -blockdev "driver=blklogwrites,node-name=$1,file=$1-file,log=$1-writes"
    )
}

# vm_alive: whether the machine runs.
vm_alive() {
    kill -0 "$VM_PID" 2>/dev/null
}

# vm_power_cut: ends the machine as a pulled plug does.
vm_power_cut() {
    local disk
    kill -KILL "$VM_PID" 2>/dev/null || true
    wait "$VM_PID" 2>/dev/null || true
    for disk in "$VM_DISK" "$VM_DATA"; do
        [[ -n $disk && -e $disk.writes ]] || continue
        # Empty where the machine did not get as far as to have its disk.
        [[ ! -s $disk.writes ]] || "$VM_REPLAY" "$disk.before" "$disk.writes" >>"$LAB_DIR/replayed" ||
            fail "the writes to $disk cannot be followed"
        mv "$disk.before" "$disk"
        rm "$disk.writes"
    done
}

# vm_press_power_button: asks the machine to end in order, as `virsh shutdown` does.
vm_press_power_button() {
    socat -t 1 - "UNIX-CONNECT:$VM_MONITOR" <<<system_powerdown >/dev/null
}

# vm_monitor COMMAND: asks QEMU's monitor and prints its answer.
vm_monitor() {
    socat -t 5 - "UNIX-CONNECT:$VM_MONITOR" <<<"$1"
}

# vm_until WHAT SECONDS COMMAND...: waits until a command succeeds; a machine that is gone or too slow is a failure.
vm_until() {
    local what=$1 limit=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ! vm_alive; then
            vm_words
            fail "the machine ended while waiting until $what; its last words are above"
        fi
        if ((SECONDS >= limit)); then
            vm_words
            fail "waited in vain until $what; the machine's last words are above"
        fi
        sleep 0.1
    done
}

# vm_words: the end of what QEMU and the machine said.
vm_words() {
    tail -n 30 "$VM_LOG" "$VM_CONSOLE" >&2 2>/dev/null || true
}

# vm_choose_kvm: uses KVM if it works. A device that opens proves nothing: some hosts hang in the first instruction,
# so a kernel without a root, which gives up and ends QEMU, has to do so first.
vm_choose_kvm() {
    local limit=15
    [[ -w /dev/kvm ]] || fail "--kvm: /dev/kvm is not there or not yours; without --kvm the machine is emulated"
    step "trying KVM for at most $limit s"
    if timeout --kill-after=1 "$limit" qemu-system-x86_64 -accel kvm -cpu max -M q35 -m 96 -nodefaults -no-user-config \
        -display none -no-reboot -kernel "$OUT/vmlinuz" -append 'panic=-1 quiet' >/dev/null 2>&1; then
        VM_ACCELERATOR=kvm
    else
        fail "--kvm: a tiny guest did not come to its end within $limit s; without --kvm the machine is emulated"
    fi
}
