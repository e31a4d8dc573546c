/* Runs the blocks of a launch, one after the other, each with its threads as fibers.
 */
#ifndef CM_TESTS_CUDA_EMULATION_BLOCK_H
#define CM_TESTS_CUDA_EMULATION_BLOCK_H

#include "emulator.h"

namespace emu
{

void run_grid(const Launch &launch);

/* Numbers for the choices that the hardware is free to make; the seed's, one sequence for all. */
unsigned random_below(unsigned limit);
void seed_random(unsigned seed); /* 0: first come, first served, no choice at all */
bool is_shuffling();

} // namespace emu

#endif
