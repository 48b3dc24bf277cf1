# An evaluation's JSON, cut at its braces, as lines of words:
#   loss DOMAIN nats | exact DOMAIN share         ("all" in all; mean: the domains' mean)
#   load LAYER CHOICE max/mean | divergence LAYER CHOICE nats       (CHOICE any, 1, 2)
#   share LAYER CHOICE DOMAIN share of each expert
#   increase LAYER EXPERT DOMAIN nats
function field(name,  text) {
    if (!match($0, "\"" name "\": *(\"[^\"]*\"|\\[[^]]*\\]|[-+.0-9eE]+)"))
        return ""
    text = substr($0, RSTART, RLENGTH)
    sub(/^"[^"]*": */, "", text)
    gsub(/["[]|\]/, "", text)
    gsub(/,/, " ", text)
    return text
}
{
    domain = field("domain")
    if (domain == "")
        domain = "all"
    if (field("max_load") != "") {
        print "load", field("layer"), field("choice"), field("max_load")
        print "divergence", field("layer"), field("choice"), field("divergence")
    } else if (field("share") != "") {
        print "share", field("layer"), field("choice"), domain, field("share")
    } else if (field("increase") != "") {
        print "increase", field("layer"), field("expert"), domain, field("increase")
    } else if (field("loss") != "") {
        print "loss", domain, field("loss")
        print "exact", domain, field("exact_match")
        if (domain != "all") {
            n++
            loss += field("loss")
            exact += field("exact_match")
        }
    }
}
END {
    if (n) {
        printf "mean loss %.17g\n", loss / n
        printf "mean exact %.17g\n", exact / n
    }
}
