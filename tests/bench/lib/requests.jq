# Merge patches, one after the other, become requests of one connection, as curl reads them with --config; $socket is the
# router's, the last answer's body is left in $answer. curl prints the status and the seconds of each.

"next",
"silent",
"url = \"http://router/v1/config\"",
"unix-socket = \($socket | @json)",
"request = PATCH",
"data = \(tojson | @json)",
"output = \($answer | @json)",
"write-out = \"%{http_code} %{time_total}\\n\""
