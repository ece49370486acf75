# shellcheck shell=bash
# How a fresh machine is told what it is: by fw_cfg, by NoCloud and by ConfigDrive disks. Sourced by tests/qemu/run.

# seed_disk FOLDER LABEL KIND: a disk with the files of a folder, as the machine's third; KIND is iso or vfat.
seed_disk() {
    local disk=$LAB_DIR/seed.img
    rm -f "$disk"
    case $3 in
        iso)
            genisoimage -quiet -output "$disk" -volid "$2" -joliet -rock "$1" 2>"$LAB_DIR/seed.log" ||
                fail "no seed disk: $(cat "$LAB_DIR/seed.log")"
            ;;
        vfat)
            truncate -s 4M "$disk"
            if ! mformat -v "$2" -i "$disk" :: || ! mcopy -s -i "$disk" "$1"/* ::; then
                fail "no seed disk"
            fi
            ;;
    esac
    VM_MORE=(-drive "if=none,id=seed,file=$disk,format=raw,readonly=on" -device 'virtio-blk-pci,drive=seed')
}

# told FIELD: what the status says of what the machine was told.
told() {
    status ".told.$1"
}

# A host without SMBIOS tables of its own has QEMU's configuration device.
case_fw_cfg() {
    VM_CONFIG_BY=fw_cfg
    boot
    is 'the credential gave the management address' 192.168.0.188/24 \
        "$(api GET /v1/config | jq -r '.interfaces.mgmt.addresses[0]')"
    is 'the status says what it was' 'credential vrouter.config taken' "$(told source) $(told outcome)"
}

# seed_no_cloud_files HOSTNAME ADDRESS: a cloud's network data, and a router's document in user data.
seed_no_cloud_files() {
    local folder=$LAB_DIR/seed
    rm -rf "$folder" && mkdir "$folder"
    printf 'instance-id: i-1\nlocal-hostname: %s.example.net\n' "$1" >"$folder/meta-data"
    cat >"$folder/network-config" <<END
version: 2
ethernets:
  mgmt:
    match: {macaddress: '52:54:00:00:00:01'}
    addresses: [192.168.0.188/24]
  public:
    match: {macaddress: '52:54:00:00:00:02'}
    addresses: [$2/24]
    routes: [{to: default, via: 198.51.100.1}]
    nameservers: {addresses: [192.0.2.53, '2001:db8::53']}
  guest:
    match: {macaddress: '52:54:00:00:00:03'}
    addresses: [10.1.1.1/24]
    mtu: 1450
END
    cat >"$folder/user-data" <<END
#cloud-config
packages: [nginx]
vrouter_tokens:
  - lab write $VM_TOKEN
vrouter:
  dhcp:
    guest:
      interface: guest
      ranges: [10.1.1.100-10.1.1.199]
      hosts:
        web1: {mac: 'fa:aa:00:00:00:20', ip: 10.1.1.20, hostname: web1}
  snat:
    guest: {source: 10.1.1.0/24, interface: public}
END
    seed_disk "$folder" cidata iso
}

# web1 goes out under the router's own address.
goes_out() {
    [[ $(http web1 http://203.0.113.80/ 2>/dev/null) == "internet answers $1" ]]
}

# The machine is what an ISO of NoCloud says, its tokens come from there, and it stays that when the disk says otherwise.
case_seed_no_cloud() {
    VM_CONFIG=
    VM_TOKEN_GIVEN=
    seed_no_cloud_files vr-seed 198.51.100.5
    boot
    holds 'the console says which disk it is' console_says \
        'the seed disk /dev/vd[a-z] \(cidata\) holds meta-data, network-config, user-data'
    holds 'and what of it is left out' console_says 'left out: .packages.'
    is 'the status says so too' taken "$(told outcome)"
    holds 'also what is left out' test "$(told 'notes | length')" = 2
    is 'its name' vr-seed "$(status .hostname)"
    is 'its state' ok "$(status .state)"
    vm_until "a guest has its lease" "$START" has_lease
    vm_until "a guest is translated" "$START" goes_out 198.51.100.5
    printf '  ok  a guest has its lease and is translated\n'
    shows 'names are asked for elsewhere' '203\.0\.113\.80' name web1 www.example.net
    is 'nothing failed' 0 "$DEMO_FAILED"
    vm_power_cut
    seed_no_cloud_files vr-other 198.51.100.6
    boot
    is 'a changed disk changes nothing' 'remembers vr-seed 1' \
        "$(told outcome) $(status .hostname) $(generation)"
    vm_until "a guest is translated on" "$START" goes_out 198.51.100.5
    printf '  ok  and a guest is translated as before\n'
}

# The same by OpenStack's disk, FAT this time, with user data as JSON; the credential for tokens wins over those of the disk.
case_seed_config_drive() {
    local folder=$LAB_DIR/seed
    VM_CONFIG=
    rm -rf "$folder" && mkdir -p "$folder/openstack/latest"
    printf '{"uuid": "u", "name": "vr-drive", "hostname": "vr-drive.novalocal", "keys": []}' \
        >"$folder/openstack/latest/meta_data.json"
    cat >"$folder/openstack/latest/network_data.json" <<'END'
{"links": [
   {"id": "tap1", "type": "ovs", "ethernet_mac_address": "52:54:00:00:00:01", "mtu": 1500},
   {"id": "tap2", "type": "ovs", "ethernet_mac_address": "52:54:00:00:00:02", "mtu": 1500},
   {"id": "tap3", "type": "ovs", "ethernet_mac_address": "52:54:00:00:00:03", "mtu": 1450}],
 "networks": [
   {"id": "n1", "type": "ipv4", "link": "tap1", "ip_address": "192.168.0.188", "netmask": "255.255.255.0", "routes": []},
   {"id": "n2", "type": "ipv4", "link": "tap2", "ip_address": "198.51.100.5", "netmask": "255.255.255.0",
    "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "198.51.100.1"}]},
   {"id": "n3", "type": "ipv4", "link": "tap3", "ip_address": "10.1.1.1", "netmask": "255.255.255.0", "routes": []}],
 "services": [{"type": "dns", "address": "192.0.2.53"}]}
END
    cat >"$folder/openstack/latest/user_data" <<'END'
{"vrouter": {
   "interfaces": {"mgmt": {"mac": "52:54:00:00:00:01"}, "out": {"mac": "52:54:00:00:00:02"}, "in": {"mac": "52:54:00:00:00:03"}},
   "dhcp": {"in": {"interface": "in", "hosts": {"web1": {"mac": "fa:aa:00:00:00:20", "ip": "10.1.1.20", "hostname": "web1"}}}},
   "snat": {"in": {"source": "10.1.1.0/24", "interface": "out"}}},
 "vrouter_tokens": ["nobody write 00000000000000000000000000000000"]}
END
    seed_disk "$folder" config-2 vfat
    boot
    is 'the machine is what the disk says' 'ConfigDrive disk /dev/vdc taken vr-drive' \
        "$(told source) $(told outcome) $(status .hostname)"
    is 'interfaces have the names of the user data' 'in mgmt out' \
        "$(api GET /v1/config | jq -r '.interfaces | keys | join(" ")')"
    vm_until "a guest has its lease" "$START" has_lease
    vm_until "a guest is translated" "$START" goes_out 198.51.100.5
    printf '  ok  a guest has its lease and is translated\n'
    vm_power_cut
    VM_MORE=()
    boot
    is 'without the disk it is the same' 'null vr-drive 1' "$(status .told) $(status .hostname) $(generation)"
}

# The same ISO in a CD-ROM drive, which is how most hosts attach it.
case_seed_cdrom() {
    # Debian's kernel for clouds has no driver for such drives.
    if [[ -e $OUT/initramfs/modules ]]; then
        printf '  --  left out: this kernel reads no SATA drive\n'
        VM_PID=
        return 0
    fi
    VM_CONFIG=
    VM_TOKEN_GIVEN=
    seed_no_cloud_files vr-seed 198.51.100.5
    VM_MORE=(-drive "if=none,id=seed,file=$LAB_DIR/seed.img,format=raw,readonly=on,media=cdrom" -device 'ide-cd,drive=seed')
    boot
    is 'the machine is what the CD-ROM says' 'NoCloud disk /dev/sr0 taken vr-seed' \
        "$(told source) $(told outcome) $(status .hostname)"
}

# A disk with faults makes no router, and the console says why; the machine waits for somebody to speak to it.
case_seed_with_faults() {
    local folder=$LAB_DIR/seed
    VM_CONFIG=
    rm -rf "$folder" && mkdir "$folder"
    printf 'version: 2\nethernets: {eth0: {addresses: [192.168.0.300/24], mtu: large}}\n' >"$folder/network-config"
    seed_disk "$folder" CIDATA vfat
    VM_ROOT=$OUT/root-debug.erofs
    VM_APPEND=vrouter.debug-shell
    vm_start vm
    vm_until "its console has a shell" "$START" console_ready
    vm_until "the console says why" "$START" console_says 'configuration is refused.*192\.168\.0\.300/24 is no IPv4 address'
    vm_until "the router says so" "$START" console_shows 'vrctl status' '^told by  *NoCloud disk /dev/vdc: refused'
    is 'what was handed over is for root alone' 'drwx------ -rw-------' \
        "$(console 'ls -ld /run/credstore /run/credstore/vrouter.seed' | awk '{ print $1 }' | xargs)"
    is 'no unit failed' 0 "$(console 'systemctl list-units --failed --plain --no-legend --no-pager | grep -c .')"
}
