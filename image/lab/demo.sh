# shellcheck shell=bash
# The demonstration: what image/demo.json promises, shown by real clients as it happens.
# Sourced by image/run and tests/qemu/run, after net.sh and vm.sh.

API=http://192.168.0.188:7270
# How long anything that must happen may take on a busy machine, and how long to listen for what must not.
PATIENCE=${PATIENCE:-20}
SILENCE=3

DEMO_SHOWN=0
DEMO_FAILED=0

# demo_networks: the router's three networks, who stands in them, and the machine's network devices.
demo_networks() {
    lab_begin mgmt public guest
    station operator mgmt 52:54:00:00:01:01 192.168.0.1/24
    # Asks soon again for a neighbour that was not there: the router's start is measured from here.
    inside operator sh -c 'echo 100 >/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms'
    # The provider's gateway, and behind it all that there is of the internet: a web site and a name server.
    station internet public 52:54:00:00:02:01 198.51.100.1/24 203.0.113.80/32 192.0.2.53/32
    station web1 guest fa:aa:00:00:00:20
    station web2 guest fa:aa:00:00:00:21
    station visitor guest fa:aa:00:00:00:99
    tap mgmt
    tap public
    tap guest
    VM_NICS=(mgmt=52:54:00:00:00:01 public=52:54:00:00:00:02 guest=52:54:00:00:00:03)
}

# demo_servers: what the stations serve: HTTP answers that name who asked, a name server, a UDP echo.
demo_servers() {
    local port
    for port in 25 80; do
        start_inside internet "internet-$port" socat "TCP-LISTEN:$port,fork,reuseaddr" "EXEC:$IMAGE_DIR/lab/answer internet"
    done
    start_inside internet names dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root \
        --pid-file= --bind-interfaces --listen-address=192.0.2.53 --address=/www.example.net/203.0.113.80
    for port in 80 8443; do
        start_inside web1 "web1-$port" socat "TCP-LISTEN:$port,fork,reuseaddr" "EXEC:$IMAGE_DIR/lab/answer web1"
    done
    start_inside web2 web2-80 socat TCP-LISTEN:80,fork,reuseaddr "EXEC:$IMAGE_DIR/lab/answer web2"
    start_inside web2 web2-9003 socat UDP-LISTEN:9003,fork "SYSTEM:echo web2 answers \$SOCAT_PEERADDR"
}

# chapter TEXT: a heading.
chapter() {
    printf '\n%s\n' "$*"
}

# shows TEXT PATTERN COMMAND...: a command whose output has to match, sooner or later; prints what it said.
shows() {
    local text=$1 pattern=$2 limit=$((SECONDS + PATIENCE)) said
    shift 2
    DEMO_SHOWN=$((DEMO_SHOWN + 1))
    while true; do
        said=$("$@" 2>&1 | tr -s '\n\t ' ' ') || true
        if [[ $said =~ $pattern ]]; then
            printf '  ok  %s: %s\n' "$text" "${BASH_REMATCH[0]}"
            return 0
        fi
        if ((SECONDS >= limit)) || ! vm_alive; then
            printf '  NO  %s: wanted %s, got: %s\n' "$text" "$pattern" "${said:-nothing}"
            DEMO_FAILED=$((DEMO_FAILED + 1))
            return 0
        fi
        sleep 0.2
    done
}

# refuses TEXT COMMAND...: a command that must not succeed.
refuses() {
    local text=$1 said
    shift
    DEMO_SHOWN=$((DEMO_SHOWN + 1))
    if said=$("$@" 2>&1); then
        printf '  NO  %s: it went through: %s\n' "$text" "$said"
        DEMO_FAILED=$((DEMO_FAILED + 1))
    else
        printf '  ok  %s\n' "$text"
    fi
}

# http STATION URL: fetches within the time that a refusal is waited for.
http() {
    inside "$1" curl --silent --show-error --fail --max-time "$SILENCE" "$2"
}

# http_status STATION URL [CURL ARGUMENT...]: the status of an answer, and where it leads.
http_status() {
    inside "$1" curl --silent --show-error --max-time "$SILENCE" --output /dev/null \
        --write-out '%{http_code} %{redirect_url}' "${@:2}"
}

# answers STATION URL: whether anything answers there, be it a refusal.
answers() {
    inside "$1" curl --silent --show-error --max-time "$SILENCE" --output /dev/null "$2"
}

# datagram STATION ADDRESS:PORT: sends one and prints the answer.
datagram() {
    inside "$1" socat -T "$SILENCE" - "UDP:$2" <<<hello
}

# api METHOD PATH [FILE]: the API as an operator on the management network calls it.
api() {
    local body=() type=application/json
    [[ $1 != PATCH ]] || type=application/merge-patch+json
    [[ -z ${3:-} ]] || body=(--header "Content-Type: $type" --data-binary "@$3")
    inside operator curl --silent --show-error --max-time 30 --oauth2-bearer "$VM_TOKEN" --request "$1" "${body[@]}" "$API$2"
}

# api_answers: whether the router can be asked.
api_answers() {
    inside operator curl --silent --connect-timeout 0.3 --max-time 2 --output /dev/null "$API/v1/status"
}

# lease STATION: asks for a lease like a machine that starts, and prints it.
lease() {
    local file=$LAB_DIR/$1.lease
    rm -f "$file"
    LEASE=$file inside "$1" busybox udhcpc -i eth0 -f -q -n -t 5 -T 1 -s "$IMAGE_DIR/lab/lease" \
        -O mtu >"$LAB_DIR/$1.udhcpc" 2>&1
    cat "$file"
}

# name STATION NAME [TYPE]: asks the router's name server.
name() {
    inside "$1" dig +short +time=2 +tries=1 @10.1.1.1 "${@:2}"
}

# demo_apply FILE: posts a configuration; the router has to accept it.
demo_apply() {
    shows "POST /v1/config with $(basename "$1")" '"generation": ?[0-9]+' api POST /v1/config "$1"
}

# demo_services: every service of demo.json, from the client that has a use for it.
demo_services() {
    chapter 'Leases (udhcpc in the guest network)'
    shows 'web1 has a fixed address' 'address=10\.1\.1\.20/24 gateway=10\.1\.1\.1 dns=10\.1\.1\.1 domain=demo\.local mtu=1450' lease web1
    shows 'web2 has one too' 'address=10\.1\.1\.21/24' lease web2
    shows 'visitor gets one of the range' 'address=10\.1\.1\.1[0-9][0-9]/24 .*' lease visitor

    chapter 'Names (dig @10.1.1.1)'
    shows 'web1.demo.local' '10\.1\.1\.20' name visitor web1.demo.local
    shows '10.1.1.20' 'web1\.demo\.local\.' name visitor -x 10.1.1.20
    shows 'db.demo.local, a record of its own' '10\.1\.1\.3[01] 10\.1\.1\.3[01]' name visitor db.demo.local
    shows 'www.example.net, by way of 192.0.2.53' '203\.0\.113\.80' name visitor www.example.net

    chapter 'Out to the internet (curl http://203.0.113.80/)'
    shows 'visitor is translated by SNAT' 'internet answers 198\.51\.100\.5' http visitor http://203.0.113.80/
    shows 'web1 goes out under its EIP' 'internet answers 198\.51\.100\.7' http web1 http://203.0.113.80/
    refuses 'port 25 is closed to guests' http visitor http://203.0.113.80:25/

    chapter 'In from the internet'
    shows 'the EIP 198.51.100.7 is web1' 'web1 answers 198\.51\.100\.1' http internet http://198.51.100.7/
    shows '198.51.100.5:8080 is port 80 of web2' 'web2 answers 198\.51\.100\.1' http internet http://198.51.100.5:8080/
    shows '198.51.100.5:9003/udp is web2' 'web2 answers 198\.51\.100\.1' datagram internet 198.51.100.5:9003
    refuses 'port 8443 of the EIP is not opened' http internet http://198.51.100.7:8443/
    refuses 'the API does not answer there' answers internet http://198.51.100.5:7270/v1/status

    chapter 'Load balancers at 198.51.100.8'
    shows 'port 8000 is web1, by the kernel' 'web1 answers 198\.51\.100\.1' http internet http://198.51.100.8:8000/
    shows 'and web2 by turns, both see who asks' 'web2 answers 198\.51\.100\.1' http internet http://198.51.100.8:8000/
    shows 'port 80 is web1, by the proxy' 'web1 answers 10\.1\.1\.1 for 198\.51\.100\.1' http internet http://198.51.100.8/
    shows '/api/ is web2, by a rule' 'web2 answers 10\.1\.1\.1 for 198\.51\.100\.1' http internet http://198.51.100.8/api/
    shows '/private/ is refused' '403' http_status internet http://198.51.100.8/private/
    shows 'old.example.net has moved' '301 http://www\.example\.net/page' \
        http_status internet http://198.51.100.8/page --header 'Host: old.example.net'
    shows 'visitor is balanced as well' 'web[12] answers' http visitor http://198.51.100.8:8000/

    chapter 'Round the corner (hairpin), and what guests may not'
    shows 'visitor reaches the EIP of its neighbour' 'web1 answers' http visitor http://198.51.100.7/
    shows 'web1 reaches its own EIP' 'web1 answers' http web1 http://198.51.100.7/
    shows 'visitor reaches the port forward' 'web2 answers' http visitor http://198.51.100.5:8080/
    refuses 'guests do not reach the API' answers visitor http://10.1.1.1:7270/v1/status
    refuses 'not at its management address either' answers visitor "$API/v1/status"

    chapter 'A change while it runs (PATCH of a firewall rule and a backend)'
    shows 'opening port 8443, disabling web1' '"generation": ?[0-9]+' api PATCH /v1/config "$IMAGE_DIR/demo-patch.json"
    shows 'the EIP answers there' 'web1 answers 198\.51\.100\.1' http internet http://198.51.100.7:8443/
    shows 'port 8000 is web2 alone' '^(web2 answers [0-9.]+ ?){4}$' http internet 'http://198.51.100.8:8000/?[1-4]'
}
