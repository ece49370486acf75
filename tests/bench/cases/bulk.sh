# shellcheck shell=bash
# Bytes through an HTTP balancer, down and up, in clear and over TLS.

BULK_CONNECTIONS=8

case_bulk() {
    local round program peer scheme way CONNECTIONS=$BULK_CONNECTIONS
    balancer_lab
    for ((round = 1; round <= ROUNDS; round++)); do
        for program in $(balancer_programs haproxy nginx); do
            balancer_start "$program"
            for scheme in http https; do
                load "$scheme://$VIP/bulk"
                sampled "$scheme download" "$program" '.bytes / 1048576'
                load "$scheme://$VIP/upload" -- upload "$UPLOAD_BYTES"
                sampled "$scheme upload" "$program" ".requests * $UPLOAD_BYTES / 1048576"
            done
            balancer_stop
        done
        step "bulk: round $round of $ROUNDS"
    done
    for peer in haproxy nginx; do
        for scheme in http https; do
            for way in download upload; do
                sampled_rows "$scheme $way" MiB/s "$peer" -
            done
        done
    done
}
