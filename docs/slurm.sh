#!/usr/bin/env bash
# A training on two machines of four GPUs each, which goes on by itself where its time or its place is taken away:
#
#     sbatch docs/slurm.sh experiment=cityscapes_resnet101_vd dataset.root=/data/cityscapes
#
# The run folder, the dataset and the environment lie on a file system that all machines see. data.batch_size counts for
# each GPU: the images of a step are batch_size x 4 x 2, and the run prints them.
#SBATCH --job-name=segnet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4         # a process a GPU: trainer.devices below
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8           # data.num_workers below
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300           # so long before the end srun's processes are told: they save and end with 138
#SBATCH --requeue                   # may be started again, after preemption (SIGTERM: saves, 143) or a broken machine
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"

# Each job is one run: checkpoint=auto looks into the folders beside this one, where the job itself began.
# --kill-on-bad-exit: an error of one process ends all, instead of leaving them to wait for it.
srun --kill-on-bad-exit=1 .venv/bin/python -m segnet train \
  "hydra.run.dir=runs/job_${SLURM_JOB_ID}/run" checkpoint=auto \
  "trainer.devices=${SLURM_NTASKS_PER_NODE}" "trainer.num_nodes=${SLURM_NNODES}" trainer.accelerator=gpu \
  "data.num_workers=${SLURM_CPUS_PER_TASK}" "$@"
code=$?

if [ "$code" -eq 138 ]; then        # told that the time is nearly up: the same job once more, which goes on
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"

# Without SLURM the same by hand, on each machine, with its own number for --node_rank:
#
#     torchrun --nnodes=2 --node_rank=0 --nproc_per_node=4 --master_addr=FIRST_MACHINE --master_port=29500 \
#       -m segnet train checkpoint=auto trainer.devices=4 trainer.num_nodes=2 ...
#
# torchrun hands SIGTERM and Ctrl-C on, and SIGUSR1 with --signals-to-handle=SIGTERM,SIGINT,SIGUSR1; all processes save,
# and torchrun itself ends with 1 whatever they ended with. An error of one process ends those of its machine, and the
# other machine's as soon as they miss it.
