/* How a CUDA device keeps a matrix as integers (cuda/matmul_integer.cu): codes of 4 or 8 bits with
 * scales for every CM_QUANT_GROUP inputs. All sources of a matrix share one format, which holds
 * each of them exactly; plain types become the nearest integers of 8 bits. Private to kernels/. */
#ifndef CM_KERNELS_INTEGER_FORMAT_H
#define CM_KERNELS_INTEGER_FORMAT_H

#include "kernels/backend.h"
#include "kernels/cpu/quants.h"

enum { CM_INTEGER_PANEL = 32 }; /* outputs that lie together */

struct cm_integer_format {
    uint32_t bits;   /* 4 or 8 */
    uint32_t scales; /* of a group: 1, or one for each half */
    uint32_t zero;   /* that codes of 4 bits are stored with: 8 or 0 */
    bool has_minima;
};

/* Of one source, or the first of several. `precision` is CM_PRECISION_INT8 or INT4. */
struct cm_integer_format cm_integer_format(enum cm_precision precision, enum cm_dtype dtype);

/* Widens the format for a source more. */
void cm_integer_format_add(struct cm_integer_format *format, enum cm_dtype dtype);

/* Of a group of a panel: codes, scales and minima. */
uint32_t cm_integer_unit_bytes(const struct cm_integer_format *format);

#endif
