/* The program's version, from CMakeLists.txt. */
#ifndef CM_JOBS_VERSION_H
#define CM_JOBS_VERSION_H

const char *cm_version(void);

#endif
