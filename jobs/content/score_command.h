/* copymill score FILE, copymill comply FILE */
#ifndef CM_JOBS_CONTENT_SCORE_COMMAND_H
#define CM_JOBS_CONTENT_SCORE_COMMAND_H

#include "jobs/run_options.h"

enum cm_exit cm_score_command(int argc, char **argv); /* argv[0] is "score" or "comply" */

#endif
