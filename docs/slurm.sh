#!/usr/bin/env bash
# Train on two machines of four GPUs each. The job resumes by itself after its time limit or a preemption:
#
#     sbatch docs/slurm.sh experiment=cityscapes_resnet101_vd dataset.root=/data/cityscapes
#
# The run folder, the dataset and the environment must be on a file system that all machines see. data.batch_size counts
# per GPU: a step has batch_size x 4 x 2 images, and the run prints this number.
#SBATCH --job-name=segnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4         # one process per GPU: trainer.devices below
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8           # data.num_workers below
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300           # 300 s before the end: all processes save and exit with 138
#SBATCH --requeue                   # restart after a preemption (SIGTERM: saves, 143) or a broken machine
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"

# Each job is one run: checkpoint=auto searches the run folder of this job.
# --kill-on-bad-exit: an error in one process ends all of them, so that none waits for it.
srun --kill-on-bad-exit=1 .venv/bin/python -m segnet train \
  "hydra.run.dir=runs/job_${SLURM_JOB_ID}/run" checkpoint=auto \
  "trainer.devices=${SLURM_NTASKS_PER_NODE}" "trainer.num_nodes=${SLURM_NNODES}" trainer.accelerator=gpu \
  "data.num_workers=${SLURM_CPUS_PER_TASK}" "$@"
code=$?

if [ "$code" -eq 138 ]; then        # the time limit is near: requeue the job, which then resumes
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"

# Without SLURM, start this on each machine with its own --node_rank:
#
#     torchrun --nnodes=2 --node_rank=0 --nproc_per_node=4 --master_addr=FIRST_MACHINE --master_port=29500 \
#       -m segnet train checkpoint=auto trainer.devices=4 trainer.num_nodes=2 ...
#
# torchrun passes SIGTERM and Ctrl-C on, and SIGUSR1 with --signals-to-handle=SIGTERM,SIGINT,SIGUSR1. All processes save.
# torchrun itself exits with 1, whatever the processes exit with. An error in one process ends the processes of its
# machine, and those of the other machine as soon as they notice.
