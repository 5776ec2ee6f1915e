{{ members('stg_grades', ['stg_workforce'], 'grade', 'grade_name') }}
