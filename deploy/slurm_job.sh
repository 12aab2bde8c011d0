# From here on the same for every run. Above: resume, layout, warning_s, cpus_per_task,
# submit_folder, command, serve.
cd -- "$submit_folder" || exit 2
export PHOTOZ_ALLOCATION="$submit_folder/allocation-${SLURM_JOB_ID:-0}-${SLURM_RESTART_COUNT:-0}"

# One of the tasks of `srun` below: 0 is the scheduler, 1 the driver, the others are workers.
if [ "${1-}" = task ]; then
  [ "${SLURM_PROCID-}" = 1 ] || exec "${serve[@]}"
  trap : TERM  # Meant for the driver: this shell stays to tell how it ended.
  "${command[@]}"
  code=$?
  echo "$code" > exit-code
  [ -d "$PHOTOZ_ALLOCATION" ] || mkdir -m 700 "$PHOTOZ_ALLOCATION"
  touch "$PHOTOZ_ALLOCATION/ended"
  exit "$code"
fi

say() { printf '%s job %s: %s\n' "$(date -u +%FT%TZ)" "${SLURM_JOB_ID:-}" "$*"; }
num_receipts() { find ../receipts -maxdepth 1 -name '*.json' 2>/dev/null | wc -l; }

# srun itself ends the step on SIGTERM, so there the tasks are signalled by way of Slurm.
signal_engine() {
  if [ "$layout" = allocation ]; then
    scancel --signal="$1" "$SLURM_JOB_ID"
  elif [ -n "$child" ]; then
    kill -s "$1" "$child" 2>/dev/null
  fi
}

# The warning is USR1 and not TERM, so that a job that was cancelled does not start itself again.
on_warning() {
  told=warning interrupted=yes
  say "time limit in about $warning_s s: the run is told to stop"
  signal_engine TERM
  # Slurm's own end would come before the job can be submitted again.
  (sleep "$((warning_s > 60 ? warning_s - 15 : warning_s * 3 / 4))" && signal_engine KILL) &
  watchdog=$!
}
on_cancel() {
  told=cancel interrupted=yes
  say "cancelled: the run is told to stop"
  signal_engine TERM
}

child='' told='' interrupted='' watchdog='' successor=''
trap on_warning USR1
trap on_cancel TERM

before=$(num_receipts)
rm -f exit-code
if [ "$resume" = chain ]; then
  successor=$(sbatch --parsable --dependency="afterany:$SLURM_JOB_ID" --kill-on-invalid-dep=yes \
    job.sh) && successor=${successor%%;*} && say "job $successor goes on when this one has ended"
fi

say "begins with $before receipts"
if [ "$layout" = allocation ]; then
  srun --cpus-per-task="$cpus_per_task" bash job.sh task &
else
  "${command[@]}" &
fi
child=$!
[ -z "$told" ] || signal_engine TERM
code=1
while :; do
  interrupted=''
  wait "$child"
  status=$?
  [ "$status" -eq 127 ] || code=$status
  [ -n "$interrupted" ] || break
done
[ -z "$watchdog" ] || kill "$watchdog" 2>/dev/null
if [ "$layout" = allocation ]; then
  rm -rf -- "$PHOTOZ_ALLOCATION"
  [ ! -s exit-code ] || code=$(cat exit-code)
fi

after=$(num_receipts)
idle=0
[ "$after" -gt "$before" ] || idle=$(($(cat idle-attempts 2>/dev/null || echo 0) + 1))
echo "$idle" > idle-attempts
say "ended with exit code $code and $after receipts"

# 143: stopped, as it was told; 4: stalled; other signals: killed, for example out of memory.
again=''
if [ "$code" -eq 4 ] || { [ "$code" -gt 128 ] && [ "$code" -ne 130 ]; }; then again=yes; fi
if [ "$told" = cancel ]; then
  say "not resumed: it was cancelled"
elif [ -n "$again" ] && [ "$idle" -ge 2 ]; then
  again=''
  say "not resumed: two attempts in a row brought no new receipt"
elif [ -n "$again" ] && [ "$resume" = requeue ]; then
  say "requeued"
  scontrol requeue "$SLURM_JOB_ID" || say "not resumed: Slurm refuses to requeue"
elif [ -n "$again" ] && [ "$resume" = none ]; then
  say "not resumed: slurm.resume is none; submit it again to go on"
fi
if [ -z "$again" ] && [ -n "$successor" ]; then scancel "$successor"; fi
exit "$code"
