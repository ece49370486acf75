# shellcheck shell=bash
# What was measured, and the table that is made of it. Sourced by tests/bench/run.

# sample FIGURE PROGRAM VALUE: one measurement.
sample() {
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$LAB_DIR/samples"
}

# row FIGURE UNIT PEER BAR: a line of the table; again for another peer of the same figure. PEER is - where there is
# none. BAR is - where nothing is promised, else a comparison of the product's median or of its ratio to the peer's:
# 'value < 10', 'ratio >= 1.5'.
row() {
    printf '%s\t%s\t%s\t%s\n' "$@" >>"$LAB_DIR/rows"
}

# report: prints the table; with a file, writes what it is made of there as JSON.
report() {
    local json=$1
    jq --null-input --raw-input --rawfile rows "$LAB_DIR/rows" --rawfile samples "$LAB_DIR/samples" \
        --arg processor "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" \
        --arg kernel "$(uname -r)" --argjson cores "$(nproc)" --argjson rounds "$ROUNDS" \
        --argjson load "[$LOAD_BEFORE, $(cut -d ' ' -f 1 /proc/loadavg)]" \
        --from-file "$BENCH_DIR/lib/report.jq" >"$LAB_DIR/report.json"
    [[ -z $json ]] || cp "$LAB_DIR/report.json" "$json"
    jq --raw-output --from-file "$BENCH_DIR/lib/table.jq" "$LAB_DIR/report.json"
}
