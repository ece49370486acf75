# shellcheck shell=bash
# A ZStack host and its management node, as far as a machine sees them. Sourced by tests/qemu/run, after net.sh and vm.sh.

ZSTACK=http://192.168.0.188:7272
ZSTACK_UUID=5d0c6a1f0b2e4f6d8a7c9b1e2d3f4a5b
ZSTACK_CALLBACK=http://192.168.0.1:8080/zstack/asyncrest/callback
# What the host knows of the machine; its networks are those of the demonstration.
ZSTACK_BOOTSTRAP='{
  "applianceVmSubType": "VirtualRouter", "uuid": "'$ZSTACK_UUID'", "publicKey": "ssh-rsa AAAA", "sshPort": 22,
  "managementNodeIp": "192.168.0.1", "managementNodeCidr": "192.168.0.0/24", "haStatus": "NoHa",
  "managementNic": {"ip": "192.168.0.188", "netmask": "255.255.255.0", "gateway": "192.168.0.1",
    "mac": "52:54:00:00:00:01", "deviceName": "eth0", "isDefaultRoute": false, "category": "System", "mtu": 1500},
  "additionalNics": [
    {"ip": "198.51.100.5", "netmask": "255.255.255.0", "gateway": "198.51.100.1", "mac": "52:54:00:00:00:02",
     "deviceName": "eth1", "isDefaultRoute": true, "category": "Public", "mtu": 1500},
    {"ip": "10.1.1.1", "netmask": "255.255.255.0", "gateway": "10.1.1.1", "mac": "52:54:00:00:00:03",
     "deviceName": "eth2", "isDefaultRoute": false, "category": "Private", "mtu": 1500}]
}'
ZSTACK_TASKS=0

# zstack_host_writes: what a host does once the machine has its port: it writes through a buffer of the smallest size,
# padded with blanks to more than that holds, so that writing lasts until somebody in the machine reads; then it closes.
zstack_host_writes() {
    vm_until "the host can reach the port" 30 test -S "$VM_VPORT"
    printf '%-9216s' "$ZSTACK_BOOTSTRAP" | timeout "$START" socat -u - "UNIX-CONNECT:$VM_VPORT,sndbuf=1" ||
        { vm_words && fail "the machine does not read what its host writes"; }
}

# zstack_listens: takes answers on the operator's port; each is a file in $LAB_DIR/answers, named after its task.
zstack_listens() {
    mkdir -p "$LAB_DIR/answers"
    start_inside operator callback socat TCP-LISTEN:8080,fork,reuseaddr "EXEC:$TOP/tests/qemu/callback $LAB_DIR/answers"
    vm_until "the management node listens" 30 listens operator 8080
}

# zstack_post PATH [BODY]: posts a command; the task is ZSTACK_TASK.
zstack_post() {
    ZSTACK_TASKS=$((ZSTACK_TASKS + 1))
    ZSTACK_TASK=$BASHPID-$RANDOM-$ZSTACK_TASKS
    inside operator curl --silent --fail --max-time 10 --output /dev/null --request POST \
        --header 'Content-Type: application/json' --header "taskuuid: $ZSTACK_TASK" \
        --header "callbackurl: $ZSTACK_CALLBACK" --data-binary "${2:-}" "$ZSTACK$1"
}

# zstack_calls PATH BODY: a command that has to succeed; prints its answer.
zstack_calls() {
    local answer limit=$((SECONDS + START))
    zstack_post "$1" "$2" || { vm_words && fail "$1 was not taken"; }
    answer=$LAB_DIR/answers/$ZSTACK_TASK
    until [[ -e $answer ]]; do
        ((SECONDS < limit)) || { vm_words && fail "$1 was not answered"; }
        sleep 0.1
    done
    [[ $(jq .success "$answer") == true ]] || { vm_words && fail "$1 failed: $(cat "$answer")"; }
    cat "$answer"
    echo
}
