# Samples and rows, tab-separated, become figures with medians, ratios and whether they meet their bars.

def lines($text): $text | split("\n") | map(select(. != "") | split("\t"));
def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def summary: if length == 0 then null else { median: median, least: min, most: max, samples: . } end;
def compare($found; $relation; $wanted):
  if $relation == "<" then $found < $wanted
  elif $relation == "<=" then $found <= $wanted
  elif $relation == ">" then $found > $wanted
  elif $relation == ">=" then $found >= $wanted
  elif $relation == "=" then $found == $wanted
  else error("there is no comparison \($relation)") end;

lines($samples) as $samples
| def of($figure; $program): [$samples[] | select(.[0] == $figure and .[1] == $program) | .[2] | tonumber];
{
  machine: { processor: $processor, cores: $cores, kernel: $kernel, load_before_and_after: $load },
  rounds: $rounds,
  figures: [
    lines($rows)[] as [$figure, $unit, $peer, $bar]
    | (of($figure; "vrouter") | summary) as $ours
    | (of($figure; $peer) | summary) as $theirs
    | (if $ours and $theirs and $theirs.median != 0 then $ours.median / $theirs.median else null end) as $ratio
    | {
        figure: $figure, unit: $unit, peer: (if $peer == "-" then null else $peer end),
        vrouter: $ours, theirs: $theirs, ratio: $ratio,
        bar: (if $bar == "-" then null else $bar end)
      }
    | .meets =
        if .bar == null or $ours == null then null
        else (.bar | split(" ")) as [$what, $relation, $wanted]
        | (if $what == "ratio" then $ratio else $ours.median end) as $found
        | if $found == null then false else compare($found; $relation; $wanted | tonumber) end
        end
  ]
}
