/* What launches need to know about the attributes that were set on kernels.
 */
#ifndef CM_TESTS_CUDA_EMULATION_FUNCTIONS_H
#define CM_TESTS_CUDA_EMULATION_FUNCTIONS_H

#include <cstddef>

namespace emu
{

size_t dynamic_shared_limit(const void *function); /* bytes that a launch may ask for */

} // namespace emu

#endif
