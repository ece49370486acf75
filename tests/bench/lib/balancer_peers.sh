# shellcheck shell=bash
# haproxy and nginx as careful operators set them up for what the product does with balancer.jq: one thread, connections
# kept open on both sides and shared, streams not buffered on a disk, headers that say who asked. Sourced by tests/bench/run.

# balancer_peer_files: what they read.
balancer_peer_files() {
    {
        haproxy_head
        cat <<END
frontend http
    bind $VIP:80
    http-request set-header X-Forwarded-Proto http
    default_backend web
frontend https
    bind $VIP:443 ssl crt $BALANCER_LAB/site.pem alpn h2,http/1.1
    http-request set-header X-Forwarded-Proto https
    default_backend web
backend web
    server b0 10.0.1.1:$SERVER_PORT check inter 5s
    server b1 10.0.1.2:$SERVER_PORT check inter 5s
listen tcp
    mode tcp
    bind $VIP:8081
    server b0 10.0.1.1:$SERVER_PORT check inter 5s
    server b1 10.0.1.2:$SERVER_PORT check inter 5s
END
    } >"$BALANCER_LAB/haproxy.cfg"
    {
        nginx_head
        cat <<END
    upstream web {
        server 10.0.1.1:$SERVER_PORT;
        server 10.0.1.2:$SERVER_PORT;
        keepalive 256;
        keepalive_requests 1000000000;
    }
    ssl_certificate $BALANCER_LAB/chain.pem;
    ssl_certificate_key $BALANCER_LAB/key.pem;
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:tls:20m;
    server { listen $VIP:80 backlog=16384; location / { proxy_pass http://web; } }
    server { listen $VIP:443 ssl http2 backlog=16384; location / { proxy_pass http://web; } }
}
END
    } >"$BALANCER_LAB/nginx.conf"
}

# many_listeners LISTENERS BACKENDS MARK [EXTRA]: both peers' files for as many listeners with as many backends each, as
# balancer.jq makes them. Listener 500 answers with a header that holds MARK and has EXTRA backends more.
many_listeners() {
    {
        haproxy_head
        awk -v listeners="$1" -v backends="$2" -v mark="$3" -v extra="${4:-0}" -v vip="$VIP" -v port="$SERVER_PORT" 'BEGIN {
            for (l = 0; l < listeners; l++) {
                print "listen l" l "\n    bind " vip ":" 10000 + l
                if (l == 500) print "    http-response set-header X-Mark " mark
                for (b = 0; b < backends + (l == 500 ? extra : 0); b++) print "    server b" b " 10.0.1." b % 20 + 1 ":" port
            }
        }'
    } >"$BALANCER_LAB/haproxy.cfg"
    {
        nginx_head
        awk -v listeners="$1" -v backends="$2" -v mark="$3" -v extra="${4:-0}" -v vip="$VIP" -v port="$SERVER_PORT" 'BEGIN {
            for (l = 0; l < listeners; l++) {
                print "upstream l" l " {"
                for (b = 0; b < backends + (l == 500 ? extra : 0); b++) print "    server 10.0.1." b % 20 + 1 ":" port ";"
                print "    keepalive 64; keepalive_requests 1000000000;\n}"
                print "server { listen " vip ":" 10000 + l "; location / { proxy_pass http://l" l ";" \
                    (l == 500 ? " add_header X-Mark " mark ";" : "") " } }"
            }
            print "}"
        }'
    } >"$BALANCER_LAB/nginx.conf"
}

haproxy_head() {
    cat <<END
global
    nbthread 1
    maxconn 12000
    no strict-limits
    stats socket $BALANCER_LAB/haproxy.sock level admin expose-fd listeners
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    balance roundrobin
    option http-keep-alive
    http-reuse always
    option forwardfor
    option splice-auto
    timeout connect 5s
    timeout client 10m
    timeout server 60s
    timeout http-request 10m
    timeout http-keep-alive 10m
    timeout tunnel 1h
END
}

# nginx_head: up to and including the opening of its http block.
nginx_head() {
    cat <<END
daemon off;
user root;
worker_processes 1;
pid $BALANCER_LAB/nginx.pid;
error_log stderr crit;
events { worker_connections 15000; }
http {
    access_log off;
    keepalive_timeout 10m;
    client_header_timeout 10m;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_set_header Connection "";
    proxy_set_header Host \$host;
    proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto \$scheme;
END
}

# haproxy_start [COMMAND...]: as a master with one worker, so that it can be reloaded.
haproxy_start() {
    start_inside router haproxy "$@" haproxy -W -db -f "$BALANCER_LAB/haproxy.cfg"
}

# nginx_start [COMMAND...]
nginx_start() {
    start_inside router nginx "$@" nginx -c "$BALANCER_LAB/nginx.conf"
}
