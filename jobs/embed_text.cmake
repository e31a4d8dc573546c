# cmake -D FILES="a.txt;b.txt" -D OUTPUT=templates.c -P embed_text.cmake
#
# Writes a C file with each text as a string literal per line. Only CMake is needed.
set(entries "")
foreach(file ${FILES})
  file(READ ${file} text)
  string(REPLACE "\\" "\\\\" text "${text}")
  string(REPLACE "\"" "\\\"" text "${text}")
  string(REPLACE "\n" "\\n\"\n      \"" text "${text}")
  get_filename_component(name ${file} NAME_WE)
  string(APPEND entries "    { \"${name}\",\n      \"${text}\" },\n")
endforeach()
file(WRITE ${OUTPUT} "/* Generated from jobs/templates. */
#include \"jobs/embedded_templates.h\"

const struct cm_embedded_template CM_EMBEDDED_TEMPLATES[] = {
${entries}};
const size_t CM_EMBEDDED_TEMPLATES_COUNT =
    sizeof CM_EMBEDDED_TEMPLATES / sizeof CM_EMBEDDED_TEMPLATES[0];
")
