/* For the families that are compiled once per instruction set: gives their ops a name of their own,
 * cm_op_norm_avx2 and so on. `dispatch.c` chooses among them. CM_VARIANT comes from the build. */
#ifndef CM_KERNELS_CPU_VARIANT_H
#define CM_KERNELS_CPU_VARIANT_H

#define CM_VARIANT_JOIN_(name, variant) name##_##variant
#define CM_VARIANT_JOIN(name, variant) CM_VARIANT_JOIN_(name, variant)
#define CM_VARIANT_NAME(name) CM_VARIANT_JOIN(name, CM_VARIANT)

#define cm_op_activation CM_VARIANT_NAME(cm_op_activation)
#define cm_op_add CM_VARIANT_NAME(cm_op_add)
#define cm_op_attention CM_VARIANT_NAME(cm_op_attention)
#define cm_op_beam CM_VARIANT_NAME(cm_op_beam)
#define cm_norm_rows CM_VARIANT_NAME(cm_norm_rows)
#define cm_op_feed_forward CM_VARIANT_NAME(cm_op_feed_forward)
#define cm_op_gated CM_VARIANT_NAME(cm_op_gated)
#define cm_op_gated_matmul CM_VARIANT_NAME(cm_op_gated_matmul)
#define cm_op_norm CM_VARIANT_NAME(cm_op_norm)
#define cm_op_norm_matmul CM_VARIANT_NAME(cm_op_norm_matmul)
#define cm_op_rope_append CM_VARIANT_NAME(cm_op_rope_append)
#define cm_op_sample CM_VARIANT_NAME(cm_op_sample)
#define cm_op_sample_probabilities CM_VARIANT_NAME(cm_op_sample_probabilities)

#include "kernels/backend.h"

#endif
