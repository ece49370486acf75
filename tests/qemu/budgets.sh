# shellcheck shell=bash
# The booted machine within image/budgets.toml. Sourced by tests/qemu/run.

# The whole demonstration at work in the memory that is promised, with connections through everything that it balances.
case_budgets() {
    VM_MEMORY=$(budget machine memory_mib)
    boot_with_shell
    vm_until "its console has a shell" "$START" console_ready
    apply_demo >/dev/null
    vm_until "a guest has its lease" "$START" has_lease
    vm_until "its balancers answer" "$START" http internet http://198.51.100.8/
    start_inside internet load wrk --threads 1 --connections "$BUDGET_CONNECTIONS" --duration 1h --timeout 30 http://198.51.100.8/
    BUDGET_LOAD=$STARTED
    vm_until "$BUDGET_CONNECTIONS connections are under way" "$START" loaded
    # What the service takes for them has grown as far as it does once each was answered.
    vm_until "they are answered" "$START" answered
    local available service services
    available=$(console 'cat /proc/meminfo' | awk '/^MemAvailable/ { print int($2 / 1024) }')
    service=$(console "cat /proc/\$(cat $BUDGET_GROUPS/vrouterd.service/cgroup.procs)/status" |
        awk '/^VmRSS/ { print int($2 / 1024) }')
    # A service has a control group as long as anything of it runs.
    services=$(console "ls $BUDGET_GROUPS" | tr -s ' \n' '\n' | awk '/\.service$/ && !/debug-shell/' | tr '\n' ' ')
    printf '  with %s MiB: %s MiB available under load, %s MiB resident, services: %s\n' \
        "$VM_MEMORY" "$available" "$service" "$services"
    holds "available: at least $(budget machine available_mib) MiB" test "$available" -ge "$(budget machine available_mib)"
    holds "resident: at most $(budget machine service_mib) MiB" test "$service" -le "$(budget machine service_mib)"
    holds "services: at most $(budget machine services)" test "$(wc -w <<<"$services")" -le "$(budget machine services)"
    kill "$BUDGET_LOAD"
}

BUDGET_GROUPS=/sys/fs/cgroup/system.slice
# How many clients keep asking the proxy at once.
BUDGET_CONNECTIONS=200

loaded() {
    [[ $(inside internet ss --no-header --tcp --numeric state established dport = :80 | wc -l) -ge $BUDGET_CONNECTIONS ]]
}

# answered: whether the proxy has answered more often than clients ask at once.
answered() {
    local requests
    requests=$(api GET /metrics | awk '/^vrouter_balancer_requests_total/ { sum += $2 } END { print int(sum) }')
    ((requests > 3 * BUDGET_CONNECTIONS))
}
