#!/bin/sh
# Folders and archives as data of whole commands: which part each of them reads, and what it says.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
mkdir D
cp tune.json D/train.json
cp heldout.json D/valid.json
sed -n '1p;9,$p' heldout.json >D/test.json
echo "about" >D/README.md
tar -cf D.tar D
gzip -k D.tar

short="--max-seq-length 48 --json"
pesc eval base/init --data D/test.json $short
ok $? "eval of a file"
strip out >test.json
pesc eval base/init --data D/valid.json $short
strip out >valid.json
pesc eval base/init --data D/train.json $short
strip out >train.json
for data in D D.tar D.tar.gz; do
    pesc eval base/init --data $data $short
    ok $? "eval of $data"
    has err "W-DS-IGNORED.*README.md" "names what it leaves out"
    strip out >got.json
    same test.json got.json "reads the test part"
    pesc eval base/init --data $data --split valid $short
    strip out >got.json
    same valid.json got.json "or another"
    pesc eval base/init --data $data --split train $short
    strip out >got.json
    same train.json got.json "or the training part"
done
mkdir E
cp tune.json E/train.json
pesc eval base/init --data E
exits 2 E-USAGE-VALUE "a folder with a training part alone"
has err "no test or valid part; there is: train" "which is said"
cp heldout.json E/val.json
pesc eval base/init --data E $short
strip out >got.json
same valid.json got.json "without a test part the valid part is read"

pesc data inspect base/init --data D.tar.gz --json
has out '"path":"D.tar.gz:D/train.json"' "data inspect shows the training part"
has out "\"sha256\":\"$(sha256sum <tune.json | cut -d' ' -f1)\"" "with the member's digest"
has out "\"archive_sha256\":\"$(sha256sum <D.tar.gz | cut -d' ' -f1)\"" "and the archive's"
pesc data stats base/init --data D.tar.gz --member D/test.json --json
has out '"path":"D.tar.gz:D/test.json"' "--member reads one file"
pesc data stats base/init --data D.tar.gz --max-uncompressed 4KiB
exits 4 E-AR-LIMIT "more than --max-uncompressed"
pesc data stats base/init --data D --member x
exits 2 E-USAGE-VALUE "--member of a folder"
pesc data stats base/init --data tune.json --split valid
exits 2 E-USAGE-VALUE "--split of a file"
size=$(wc -c <D.tar.gz)
head -c $((size - 9)) D.tar.gz >cut.tar.gz
pesc data stats base/init --data cut.tar.gz
exits 4 E-AR-CORRUPT "D12 a cut archive"
[ ! -s out ]
ok $? "and nothing is shown"

pesc craft base/init -o M --experts 4 --top-k 2 --adapter-dim 4 --seed 3
opts="--batch-size 4 --max-seq-length 48 --learning-rate 1e-2 --max-steps 4 --seed 7"
pesc train M --data tune.json --eval-data heldout.json $opts -o R1 --json
ok $? "train with files"
grep '"event":"eval".*"domain":null' out | grep -o '"loss":[^,]*' >files.txt
pesc train M --data D.tar.gz $opts -o R2
ok $? "train with an archive"
has err "eval data.*D.tar.gz:D/valid.json" "says that its valid part is evaluated"
same R1/adapter.safetensors R2/adapter.safetensors "and learns the same"
pesc train M --data D $opts -o R3 --json
grep '"event":"eval".*"domain":null' out | grep -o '"loss":[^,]*' >folder.txt
same files.txt folder.txt "a folder is evaluated the same"
[ "$(sql "SELECT count(*) FROM run_dataset d JOIN run r ON r.id = d.run_id WHERE r.name = 'R2' AND role = 'valid'")" = 1 ]
ok $? "and recorded"
plan
