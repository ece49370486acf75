# Figures become a table of plain text.

def digits:
  if . == null then "-"
  elif . == 0 then "0"
  elif fabs >= 100 then round | tostring
  elif fabs >= 10 then . * 10 | round / 10 | tostring
  elif fabs >= 0.1 then . * 100 | round / 100 | tostring
  else . * 10000 | round / 10000 | tostring end;
def left($width): . + " " * ([$width - length, 0] | max);
def right($width): " " * ([$width - length, 0] | max) + .;
def cells:
  [ .figure, .unit, (.vrouter.median | digits), (.peer // "-"), (.theirs.median | digits), (.ratio | digits),
    (.bar // "-"), (if .meets == null then "-" elif .meets then "yes" else "NO" end) ];

[["figure", "unit", "vrouter", "peer", "peer's", "ratio", "bar", "meets"]] + (.figures | map(cells))
| [transpose[] | map(length) | max] as $widths
| .[]
| [ (.[0] | left($widths[0])), (.[1] | left($widths[1])), (.[2] | right($widths[2])), (.[3] | left($widths[3])),
    (.[4] | right($widths[4])), (.[5] | right($widths[5])), (.[6] | left($widths[6])), .[7] ]
| join("  ")
